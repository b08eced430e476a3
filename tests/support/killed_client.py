"""Clients that stream until they are killed, several in a process: `python killed_client.py ADDRESS COUNT`.

Says when all have begun.
"""

from __future__ import annotations

import asyncio
import sys

import grpc

from parakeetd_proto import riva_asr_pb2_grpc
from wire import chunks, opening, speech


async def main(address: str, count: int) -> None:
    begun = asyncio.Semaphore(0)

    async def stream(number: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize()
            # Some are killed before they have said anything, some in the middle of a word.
            for request in (opening(interim=True), *chunks(speech(0.4 * (number % 4)), 3200)):
                await call.write(request)
            begun.release()
            await call.wait_for_connection()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(stream(number))
        for _ in range(count):
            await begun.acquire()
        sys.stdout.write("streaming\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
