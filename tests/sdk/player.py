"""One player with the stock Python SDK: told what to do on stdin, tells what happens on stdout,
one JSON object a line. Reconnecting is left to the SDK and its defaults."""

import asyncio
import json
import sys

from centrifuge import (
    CentrifugeError,
    Client,
    ClientEventHandler,
    ReplyError,
    SubscriptionEventHandler,
)


is_protobuf = False


def read(data):
    """In Protobuf the SDK hands out payloads as the bytes they are."""
    return json.loads(data) if is_protobuf else data


def write(data):
    return json.dumps(data).encode() if is_protobuf else data


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Line(ClientEventHandler):
    async def on_connected(self, ctx):
        tell("connected", data=read(ctx.data))

    async def on_connecting(self, ctx):
        tell("connecting", code=ctx.code)

    async def on_disconnected(self, ctx):
        tell("disconnected", code=ctx.code)

    async def on_error(self, ctx):
        if isinstance(ctx.error, ReplyError):
            tell("refused", code=ctx.error.code)


class Room(SubscriptionEventHandler):
    async def on_subscribed(self, ctx):
        tell("subscribed", was_recovering=ctx.was_recovering, recovered=ctx.recovered)

    async def on_unsubscribed(self, ctx):
        tell("unsubscribed", code=ctx.code)

    async def on_publication(self, ctx):
        info = ctx.pub.info
        tell(
            "publication",
            data=read(ctx.pub.data),
            info={"user": info.user} if info else None,
            tags=ctx.pub.tags,
        )


async def main():
    _modules, url, token, channel, encoding = sys.argv[1:]
    global is_protobuf
    is_protobuf = encoding == "protobuf"
    client = Client(
        url, events=Line(), token=token, proxy=None, use_protobuf=is_protobuf
    )
    room = client.new_subscription(channel, events=Room())
    await client.connect()
    await room.subscribe()

    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            await room.publish(write(json.loads(line)["publish"]))
            tell("published")
        except CentrifugeError as error:
            tell("unpublished", code=getattr(error, "code", 0))


asyncio.run(main())
