"""The status page: for this machine, or for who has the token; nothing of a disk but reports."""

import json
import threading

import httpx
import pytest

from ctp_torch.archive import NodeSettings, Queue
from ctp_torch.archive.page import serve_page
from ctp_torch.archive.settings import Page, Secret
from ctp_torch.archive.store import Store

from .conftest import free_port, wait_for


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serves pages: their addresses."""
    stop, threads = threading.Event(), []

    def make(token=""):
        monkeypatch.setenv("NODE_TOKEN", token)
        page = Page(port=free_port(), token=Secret(env="NODE_TOKEN"))
        settings = NodeSettings(tmp_path / "node", page=page, keep_free_gb=0.0)
        store = Store(settings, Queue(settings.folder), "page")
        place = store.case(1) / "maps"
        (place / "report").mkdir(parents=True)
        (place / "report.html").write_text("the report")
        (place / "run.json").write_text("private")
        image = {"sop": "1.2.3", "study": "1.2.4.5", "series": "1", "part": "p", "file": "f", "bytes": 1, "frames": 0}
        store.queue.add_image(image, quiet_s=9.0)
        threads.append(threading.Thread(target=serve_page, args=(settings, store, stop)))
        threads[-1].start()
        address = f"http://127.0.0.1:{page.port}"
        wait_for(lambda: _answers(address), 30)
        return address

    yield make
    stop.set()
    for thread in threads:
        thread.join()


def _answers(address):
    try:
        return httpx.get(address).status_code
    except httpx.HTTPError:
        return None


def test_what_it_shows(served):
    """Meant to catch: any file below a case; a study by its UID."""
    address = served()
    page = httpx.get(address)
    assert "1.2.4.5" not in page.text
    assert "receiving" in page.text
    assert "script" not in page.headers["Content-Security-Policy"]
    assert json.loads(httpx.get(f"{address}/health").text)["healthy"] is True
    assert "ctp_torch_healthy 1" in httpx.get(f"{address}/metrics").text
    assert httpx.get(f"{address}/report/1/").text == "the report"
    for place in ("/report/1/run.json", "/report/1/report/..%2frun.json", "/report/1/../../queue.sqlite", "/nothing"):
        assert httpx.get(address + place).status_code == 404, place


def test_a_foreign_name_is_refused(served):
    """A page of somebody else's whose name is pointed at this machine doesn't get in."""
    assert httpx.get(served(), headers={"Host": "evil.example"}).status_code == 403


def test_a_token_opens_it(served):
    address = served("s3cret")
    assert httpx.get(address).status_code == 401
    assert httpx.get(f"{address}?token=wrong").status_code == 401
    assert httpx.get(address, headers={"Authorization": "Bearer s3cret"}).status_code == 200
    assert httpx.get(f"{address}/health?token=s3cret").status_code == 200
