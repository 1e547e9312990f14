"""The page to play with: what its server computes and refuses, and the page in a real browser."""

import json
import os
import shutil
import socket
import threading
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

import pytest
import torch

from inverseflow.cli.play.model import Player
from inverseflow.cli.play.server import PlayServer, serve
from inverseflow.data import LabelCondition
from inverseflow.errors import OptionError
from inverseflow.flows import create
from inverseflow.training.run.description import Description
from tests.contracts.registry import perturb

RUNTIME = os.environ.get("INVERSEFLOW_ORT_WEB")
"""Folder of the npm package onnxruntime-web."""


def player(runtime=None, context=None):
    torch.manual_seed(0)
    options = {"levels": 17, "scales": 1, "steps": 1, "width": 3, "spline_bins": 3, "context_channels": context}
    flow = perturb(create("glow", (1, 4, 6), **options)).eval()
    condition = None if context is None else LabelCondition(tuple("abc"[:context]))
    return Player(flow, Description("blots", (1, 4, 6), 17, condition=condition), runtime=runtime)


@pytest.fixture
def serving():
    """Serves a player in a thread, and returns its server."""
    started = []

    def start(player):
        server = PlayServer(player, 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def get(server, name):
    with urllib.request.urlopen(server.url + name) as answer:
        return answer.read()


def post(server, name, body, headers=()):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + name, data, dict(headers))
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]


def test_the_server_gives_what_the_flow_gives(serving):
    shown = player(context=2)
    server, flow = serving(shown), shown.flow
    x = torch.arange(24).remainder(17).to(torch.uint8)
    z, context = torch.linspace(-2, 2, 24), torch.tensor([[0.0, 1.0]])
    with torch.no_grad():
        wanted = {
            "log_prob_at_center": flow.log_prob_at_center(x.reshape(1, 1, 4, 6), context),
            "encode": flow.encode(x.reshape(1, 1, 4, 6), context),
            "decode": flow.decode(z[None], context),
        }
    for method, expected in wanted.items():
        values = z if method == "decode" else x
        status, content = post(server, method, {"values": values.tolist(), "label": 1})
        assert status == 200
        torch.testing.assert_close(torch.tensor(content["values"]), expected.flatten().float())
    described = json.loads(get(server, "model.json"))
    assert (described["classes"], described["shape"], described["levels"]) == (["a", "b"], [1, 4, 6], 17)
    assert b"Play with a flow" in get(server, "")


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("encode", {"values": [0] * 25}, "25 numbers does not fit: the flow takes 6 × 4 pixels, 24 numbers"),
        ("encode", {"values": [17] * 24}, "the pixels of a drawing are whole numbers from 0 to 16"),
        ("encode", {"values": [0.5] * 24}, "the pixels of a drawing are whole numbers from 0 to 16"),
        ("decode", {"values": "zero"}, "an example is a list of finite numbers"),
        ("decode", b'{"values": [NaN]}', "an example is a list of finite numbers"),
        ("explode", {"values": []}, "there is no method 'explode'; there are encode, decode, log_prob_at_center"),
        ("encode", b"{", "the request is no JSON"),
        ("encode", [], "a request is a JSON object"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_sentence(serving, name, body, message):
    status, error = post(serving(player()), name, body)
    assert status == 400 and message in error


def test_a_label_that_is_none_is_refused(serving):
    status, error = post(serving(player(context=2)), "decode", {"values": [0] * 24, "label": 2})
    assert (status, error) == (400, "the label is the number of a class from 0 to 1, got 2")


@pytest.mark.parametrize("headers", [{"Host": "example.org:80"}, {"Origin": "http://example.org"}])
def test_pages_of_other_sites_are_refused(serving, headers):
    status, error = post(serving(player()), "decode", {"values": [0] * 24}, headers)
    assert (status, error) == (403, "only pages of this server may ask")


def test_only_named_files_are_sent(serving):
    server = serving(player())
    for name in ("runtime/ort.wasm.min.js", "../server.py", "encode.onnx"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(server, name)


def test_an_occupied_port_is_one_sentence():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(OptionError, match=f"port {port} is in use; choose another with --port"),
            serve(player(), port),
        ):
            pass


def test_a_folder_without_the_runtime_is_refused(tmp_path):
    with pytest.raises(OptionError, match="does not hold ort.wasm.min.js, .*`npm install onnxruntime-web` puts"):
        player(tmp_path)


def test_the_command_says_where_the_page_is_and_that_there_is_no_browser(trained, run, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    monkeypatch.setattr(PlayServer, "serve_forever", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    code, text, _ = run("show", trained, "--port", 0)

    assert code == 130 and "PyTorch computes on cpu" in text and "no browser could be opened: open http://127" in text
    assert run("show", trained, "--port", 70000)[2].endswith("--port must be from 0 to 65535, got 70000\n")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [None, RUNTIME], ids=["pytorch", "onnx"])
def test_in_a_browser_the_figures_are_those_of_pytorch(browser, serving, runtime, request, tmp_path):
    if "onnx" in request.node.callspec.id and runtime is None:
        pytest.skip("INVERSEFLOW_ORT_WEB names no folder of onnxruntime-web")
    shown = player(None if runtime is None else Path(runtime), context=2)
    server, flow = serving(shown), shown.flow
    page = browser.new_page(viewport={"width": 400, "height": 800})
    problems = []
    page.on("pageerror", lambda error: problems.append(error))
    page.goto(server.url)
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    assert (page.get_attribute("body", "data-ready"), page.inner_text("#problem")) == ("yes", "")
    page.select_option("#class", "b")

    box = page.locator("#a").bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 90, steps=5)
    page.mouse.up()
    page.wait_for_function("document.getElementById('a-nats').textContent.length > 0")
    drawn = page.evaluate("flow.drawings.a")
    found = page.evaluate("flow.compute('log_prob_at_center', flow.drawings.a)")
    latent = page.evaluate("flow.compute('encode', flow.drawings.a)")
    back = page.evaluate("async () => flow.compute('decode', await flow.compute('encode', flow.drawings.a))")
    x, context = torch.tensor(drawn, dtype=torch.uint8).reshape(1, 1, 4, 6), torch.tensor([[0.0, 1.0]])
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(found), flow.log_prob_at_center(x, context), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.tensor(latent), flow.encode(x, context)[0], rtol=1e-4, atol=1e-4)
    assert max(drawn) == 16 and back == drawn
    bits = -found[0] / (24 * torch.tensor(2.0).log().item())
    page.wait_for_function(f"document.getElementById('a-bits').textContent === '{bits:.4f} bits/dim'")

    before = page.evaluate("flow.latentOf()")
    page.locator("#latent").scroll_into_view_if_needed()
    box = page.locator("#latent").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, box["y"] - 35)
    page.mouse.up()
    after = page.evaluate("flow.latentOf()")
    assert [round(new - old, 4) for new, old in zip(after, before, strict=True)] == [2.0, *[0.0] * 23]

    from PIL import Image

    Image.new("L", (5, 5)).save(tmp_path / "small.png")
    page.set_input_files("#a-file", tmp_path / "small.png")
    page.wait_for_function(
        "document.getElementById('problem').textContent.includes('5 × 5 pixels, and the flow takes 6 × 4')"
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and not problems
