"""What is left of a face, how visible the fill is, and what a picture is still good for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from applications.anonymisation.boxes import Box, matched
from applications.anonymisation.detectors import Detector, Pedestrians, detector
from applications.anonymisation.inpainters import (
    HOLE,
    INPAINTERS,
    SIDE,
    Blur,
    FlowInpainter,
    Inpainter,
    bundled_faces,
    inpainter,
    replace,
)
from applications.anonymisation.privacy import exposed, leak, ranks, seam
from applications.anonymisation.scenes import composite
from applications.pictures import read_picture, to_bytes
from benchmarks.markdown import table
from experiments.embedded_png import embedded, pixels_of
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.folders import data_folder
from experiments.result import Result, Values

_PRIVACY, _SCENES, _LIGHT, _STREET = "faces", "scenes", "light", "street"
_ORIGINAL = "original"
_DETECTORS = ("lbp", "haar", "centerface", "mtcnn")
_PHOTOS = ("building.jpg", "home.jpg", "fruits.jpg", "butterfly.jpg", "board.jpg", "squirrel.jpg")
_LEARNED = 50
_STRENGTHS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_EXPOSURES = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
_HEAD = 0.2


@dataclass(frozen=True)
class Size:
    """Amount of everything."""

    photos: int
    faces: int
    """In each photograph."""
    frames: int
    steps: int
    """Training steps of the flow."""
    detectors: tuple[str, ...]


SIZES: dict[Budget, Size] = {
    "smoke": Size(0, 0, 0, 3, ()),
    "quick": Size(6, 4, 6, 200, _DETECTORS),
    "full": Size(6, 6, 60, 1000, _DETECTORS),
}


@lru_cache(1)
def _flow(steps: int, seed: int = 0) -> FlowInpainter:
    return FlowInpainter(bundled_faces()[:_LEARNED], steps=steps, seed=seed)


def _inpainter(name: str, size: Size) -> Inpainter | None:
    if name == _ORIGINAL:
        return None
    return _flow(size.steps) if name == "flow" else inpainter(name)


def _holes(faces: Tensor) -> Tensor:
    rim = (SIDE - HOLE) // 2
    return faces[:, rim:-rim, rim:-rim]


def _filled(faces: Tensor, made: Inpainter | None) -> Tensor:
    """Return faces ``(N, 25, 25)`` whose middles are filled."""
    if made is None:
        return faces
    rim = (SIDE - HOLE) // 2
    box = Box(rim, rim, SIDE - rim, SIDE - rim)
    return torch.stack([replace(face.expand(3, -1, -1), [box], made).mean(0) for face in faces])


def measure_privacy(name: str, size: Size) -> dict[str, Values]:
    """Fill the middles of faces that the flow has not learned, and look for them among all faces."""
    faces = bundled_faces()
    places = torch.arange(_LEARNED, len(faces))
    made = _inpainter(name, size)
    probes = _filled(faces[places], made)
    values: Values = _found(probes, faces, places, made)
    original = _holes(faces[places])
    values["leak"] = float(np.mean([leak(a, b) for a, b in zip(_holes(probes), original, strict=True)]))
    if name == "flow":
        apart = torch.cdist(_holes(probes).flatten(1), _holes(faces[:_LEARNED]).flatten(1)).min(1).values
        usual = torch.cdist(original.flatten(1), _holes(faces[:_LEARNED]).flatten(1)).min(1).values
        values["distance"] = float(apart.mean() / usual.mean())
    if name == "blur":
        values["strengths"] = [
            {"strength": strength, **_found(_filled(faces[places], Blur(strength)), faces, places, Blur(strength))}
            for strength in (_STRENGTHS if size.photos else _STRENGTHS[:1])
        ]
    shown = torch.cat(list(probes[:6]), 1)
    values["pictures"] = embedded(to_bytes(shown))
    return {name: values}


def _found(probes: Tensor, faces: Tensor, places: Tensor, made: Inpainter | None) -> Values:
    """Return how well two readers find the true faces: one compares with faces, one with faces filled alike."""
    values: Values = {}
    for reader, gallery in (("plain", faces), ("same fill", _filled(faces, made))):
        rank = ranks(_holes(probes), _holes(gallery), places)
        values[reader] = {"first": float((rank <= 1.5).double().mean()), "mean": float(rank.double().mean())}
    return values


@lru_cache(1)
def _scenes(size: Size, data_dir: Path | None) -> list[tuple[Tensor, list[Box]]]:
    folder, faces = data_folder("photos", data_dir), bundled_faces()[_LEARNED:]
    return [
        composite(read_picture(folder / name), faces[size.faces * number : size.faces * (number + 1)], seed=number)
        for number, name in enumerate(_PHOTOS[: size.photos])
    ]


@lru_cache
def _detector(name: str, data_dir: Path | None) -> Detector:
    return detector(name, data_dir)


def measure_scenes(name: str, size: Size, data_dir: Path | None) -> dict[str, Values]:
    """Fill the faces of scenes at their known places, and look for faces again."""
    made, seams = _inpainter(name, size), []
    again = dict.fromkeys(size.detectors, 0)
    total, identical, shown = 0, True, None
    for picture, boxes in _scenes(size, data_dir):
        filled = picture if made is None else replace(picture, boxes, made)
        outside = torch.ones_like(picture, dtype=torch.bool)
        for box in boxes:
            outside[:, box.top : box.bottom, box.left : box.right] = False
            if (step := seam(filled, box)) is not None:
                seams.append(step)
        identical &= torch.equal(filled[outside], picture[outside])
        total += len(boxes)
        for which in size.detectors:
            again[which] += matched(_detector(which, data_dir).detect(filled), boxes)
        if shown is None:
            around = boxes[0].grown(1.2, (picture.shape[1], picture.shape[2]))
            shown = filled[:, around.top : around.bottom, around.left : around.right]
    values: Values = {
        "faces": total,
        "found": {which: count / total for which, count in again.items()},
        "seam": float(np.median(seams)),
        "identical outside": identical,
    }
    assert shown is not None
    values["picture"] = embedded(to_bytes(shown).permute(1, 2, 0).contiguous())
    return {name: values}


def measure_light(size: Size, data_dir: Path | None, name: str) -> dict[str, Values]:
    """Look for the faces of scenes in less and less light."""
    curve = []
    for exposure in _EXPOSURES:
        pairs = [
            (exposed(picture, exposure, number), boxes)
            for number, (picture, boxes) in enumerate(_scenes(size, data_dir))
        ]
        found = sum(matched(_detector(name, data_dir).detect(picture), boxes) for picture, boxes in pairs)
        curve.append(found / sum(len(boxes) for _, boxes in pairs))
    return {name: {"exposures": list(_EXPOSURES), "recall": curve}}


def measure_street(name: str, size: Size, data_dir: Path | None) -> dict[str, Values]:
    """Fill the heads of the pedestrians that a detector finds in frames of a video, and look for them again."""
    folder = data_folder("photos", data_dir) / "vtest"
    frames = sorted(folder.glob("*.jpg"))[:: max(1, 60 // size.frames)][: size.frames]
    made, hog = _inpainter(name, size), Pedestrians()
    found = before = after = 0
    for path in frames:
        picture = read_picture(path)
        people = hog.detect(picture)
        heads = [_head(box) for box in people]
        seen = hog.detect(picture if made is None else replace(picture, heads, made))
        before, after, found = before + len(people), after + len(seen), found + matched(seen, people, 0.5)
    return {name: {"pedestrians": before, "again": found, "others": after - found}}


def _head(box: Box) -> Box:
    """Return where the head of a pedestrian is: HOG leaves a margin around people."""
    top = box.top + round(0.08 * box.height)
    left = box.left + round(0.3 * box.width)
    return Box(left, top, left + max(8, round(0.4 * box.width)), top + max(8, round(_HEAD * box.height)), "head")


def _tasks(settings: Settings) -> list[Task]:
    size = SIZES[settings.budget]
    fixed = asdict(size)
    names = (_ORIGINAL, *INPAINTERS)
    tasks = [Task(_PRIVACY, {name: fixed}, partial(measure_privacy, name, size)) for name in names]
    if size.photos:
        measures: tuple[tuple[str, Callable[..., Any]], ...] = ((_SCENES, measure_scenes), (_STREET, measure_street))
        for part, measure in measures:
            tasks += [Task(part, {name: fixed}, partial(measure, name, size, settings.data_dir)) for name in names]
        for name in size.detectors:
            tasks.append(Task(_LIGHT, {name: fixed}, partial(measure_light, size, settings.data_dir, name)))
    return tasks


def _names(result: Result) -> list[str]:
    return [name for name in (_ORIGINAL, *INPAINTERS) if result.parts(name, _PRIVACY)]


def _parts(result: Result) -> list[str]:
    names = _names(result)
    faces = {name: result.parts(name, _PRIVACY)[0].values for name in names}
    scenes = {name: result.parts(name, _SCENES)[0].values for name in names if result.parts(name, _SCENES)}
    parts = []
    if scenes:
        first = scenes[_ORIGINAL]
        recall = ", ".join(f"{which} {share:.0%}" for which, share in first["found"].items())
        same = all(values["identical outside"] for values in scenes.values())
        parts.append(
            f"**Found at all**: of {first['faces']} faces in full light {recall}. What a detector misses stays in the "
            f"picture; everything below holds only for faces that are found. Pixels outside of the boxes are "
            f"{'the same in all' if same else 'NOT the same in all'} filled pictures."
        )
    rows = []
    for name in names:
        values = faces[name]
        cells = [f"{values['leak']:.2f}"]
        for reader in ("plain", "same fill"):
            cells.append(f"{values[reader]['first']:.0%}, {values[reader]['mean']:.1f}")
        if scenes:
            cells.append(" / ".join(f"{share:.0%}" for share in scenes[name]["found"].values()))
            cells.append(f"{scenes[name]['seam']:.2f}")
            street = result.parts(name, _STREET)[0].values
            cells.append(f"{street['again'] / max(1, street['pedestrians']):.0%} (+{street['others']})")
        rows.append([name, *cells])
    head = ["fill", "leak", "true face first, mean rank", "the same by a reader who fills alike"]
    if scenes:
        head += [f"found again ({' / '.join(scenes[_ORIGINAL]['found'])})", "seam", "pedestrians found again"]
    parts.append(table(head, rows))
    guess = len(bundled_faces())
    parts.append(
        f"By chance the true face is first in {1 / guess:.0%} and has the mean rank {(guess + 1) / 2:g}. The faces of "
        f"the flow are {faces['flow']['distance']:.2f} times as far from the nearest face that it learned as other "
        "real faces are."
    )
    strengths = [
        [
            f"{row['strength']:g}",
            *(f"{row[reader]['first']:.0%}, {row[reader]['mean']:.1f}" for reader in ("plain", "same fill")),
        ]
        for row in faces["blur"]["strengths"]
    ]
    parts += ["Blur by its deviation in widths of the hole:", table(["deviation", *head[2:4]], strengths)]
    if scenes:
        lights = [
            [name, *(f"{share:.0%}" for share in result.parts(name, _LIGHT)[0].values["recall"])]
            for name in scenes[_ORIGINAL]["found"]
        ]
        exposures = [f"1/{round(1 / exposure)}" if exposure < 1 else "1" for exposure in _EXPOSURES]
        parts += [
            "Share of the faces that are found, by the share of the light:",
            table(["detector", *exposures], lights),
        ]
    return parts


def _draw(result: Result) -> Figure:
    names = _names(result)
    scenes = [name for name in names if result.parts(name, _SCENES)]
    figure = Figure(figsize=(12, 6.5 if scenes else 3), layout="constrained")
    grid = figure.add_gridspec(2 if scenes else 1, 6)
    faces = figure.add_subplot(grid[0, :3])
    rows = [pixels_of(result.parts(name, _PRIVACY)[0].values["pictures"]) for name in names]
    faces.imshow(np.concatenate(rows), cmap="gray", vmin=0, vmax=255)
    faces.set_yticks([(place + 0.5) * SIDE for place in range(len(names))], names)
    faces.set_xticks([])
    faces.set_title("faces whose middle is filled", fontsize=9)
    curve = figure.add_subplot(grid[0, 3:])
    if scenes:
        for name in result.parts(_ORIGINAL, _SCENES)[0].values["found"]:
            values = result.parts(name, _LIGHT)[0].values
            curve.plot(values["exposures"], values["recall"], "o-", label=name)
        curve.set_xscale("log", base=2)
        curve.set(xlabel="share of the light", ylabel="share of faces found", ylim=(0, 1))
        curve.invert_xaxis()
        curve.legend()
        curve.grid(alpha=0.3)
    else:
        curve.axis("off")
    for column, name in enumerate(scenes[:6]):
        place = figure.add_subplot(grid[1, column])
        place.imshow(pixels_of(result.parts(name, _SCENES)[0].values["picture"]))
        place.set_title(name, fontsize=9)
        place.set(xticks=[], yticks=[])
    return figure


EXPERIMENTS = (
    Experiment(
        name="anonymisation",
        title="Faces that are replaced",
        about="""
A demonstration, and no guarantee of privacy. Faces are replaced by blur (of a deviation of a quarter of the width), 8×8
pixels, black, a biharmonic surface, or a face that a conditional flow draws given the ring around the hole, with a rim
of that surface. Leak: largest normalized cross-correlation with what was there. Ranks: 50 small gray faces that come
with scikit-image (a part of LFW) have their middle filled, and are looked for among all 100 by eigenfaces, within the
hole; one reader compares them with faces, the other with faces that were filled in the same way. The flow has learned
the other 50. Scenes are photographs into which real faces were put at known places (composites), of which a part of the
detectors may not see every one; they are filled there and looked for again by all detectors. Seam: the step across the
border of a fill by the usual step outside of it. Street: heads of the pedestrians that OpenCV's HOG detector finds in
frames of a video are filled, and pedestrians are looked for again (and how many others appear). Light: the scenes at a
share of the light, with the noise of a sensor, brightened again.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
