"""Sessions that end in every way: nothing of them is left in the daemon, and it drains when it is told to end.

`tests/bench/endings.py` and `tests/bench/terminate.py` are the long forms.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import grpc
import pytest

from commands import PARAKEETD, PATIENCE_SECONDS, Served, home
from parakeetd_proto import riva_asr_pb2 as asr
from parakeetd_proto import riva_asr_pb2_grpc
from session_endings import CONFIG, SESSIONS, end_sessions
from terminated import terminate
from watching import watched

SETTLE_SECONDS = 60.0


async def test_nothing_is_left_of_sessions_however_they_end() -> None:
    with watched(config=CONFIG) as daemon:
        await end_sessions(daemon.address, 40, 1)
        before = daemon.alive()
        found = await end_sessions(daemon.address, 60, 2)
        after = daemon.settled(before, SETTLE_SECONDS)
        code = daemon.end()
    assert found.wrong == []
    assert set(found.sessions) == {*SESSIONS, "client killed", "refused"}
    assert after.left_over(before) == []
    assert daemon.errors() == []
    assert code == 0


def test_a_daemon_under_load_answers_what_it_accepted_and_is_gone_in_time() -> None:
    made = terminate(streams=6, after=6.0)
    assert made.problems == []
    assert made.utterances >= 6
    assert made.code == 0


def test_a_daemon_whose_log_nobody_reads_goes_on_and_ends_when_it_is_told() -> None:
    command = [*PARAKEETD, "serve", "--model", "demo", "--listen", "127.0.0.1:0"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=home(Path(folder))) as process,
    ):
        daemon = Served(process)
        try:
            daemon.wait_for("ready")
            with grpc.insecure_channel(daemon.addresses[0]) as channel:
                stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
                # Each is a line of the log; the pipe takes some 800.
                for _ in range(1500):
                    with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
                        stub.Recognize(asr.RecognizeRequest(audio=b"no audio"), timeout=PATIENCE_SECONDS)
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
