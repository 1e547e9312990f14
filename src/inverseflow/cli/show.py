"""inverseflow show."""

import webbrowser
from pathlib import Path

from inverseflow.cli.arguments import File, RunFolder, Whole
from inverseflow.cli.checks import check_run
from inverseflow.errors import OptionError

_RUNTIME = Path("node_modules/onnxruntime-web")


def show(
    run: RunFolder, /, *, port: Whole = 8000, browser: bool = True, runtime: File | None = None, device: str = "auto"
) -> None:
    """Open a page to play with a flow of images: draw, see the likelihood, interpolate, drag latents.

    Only this computer can reach the page. Its figures are computed here by PyTorch. They are computed in the browser
    from ONNX files, and the server only sends files, if onnxruntime-web is there: `npm install onnxruntime-web` puts it
    where the command finds it. That needs the extra inverseflow[export]. Ctrl-C ends the command.

    Args:
        run: the run folder of a flow of images.
        port: port of the page; 0 takes a free one.
        browser: whether to open the page in a browser.
        runtime: folder of the npm package onnxruntime-web. By default node_modules/onnxruntime-web, if it is there.
        device: device of PyTorch: auto, cpu, cuda, cuda:1 ...
    """
    if not 0 <= port < 2**16:
        raise OptionError(f"--port must be from 0 to 65535, got {port}")
    check_run(run)
    from inverseflow.cli.loading import load_image_flow
    from inverseflow.cli.play.model import Player
    from inverseflow.cli.play.server import serve
    from inverseflow.training import describe

    given = runtime or (_RUNTIME if _RUNTIME.is_dir() else None)
    flow = load_image_flow(run, device, "shown")
    player = Player(flow, describe(run), runtime=given)
    with serve(player, port) as server:
        print(f"{server.url} shows {run.path} until Ctrl-C; {player.computing}", flush=True)
        if browser and not webbrowser.open(server.url):
            print(f"no browser could be opened: open {server.url} in one on this computer", flush=True)
        server.serve_forever()
