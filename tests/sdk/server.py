"""A game's server with the stock library for Python: each method once, and what is refused."""

import sys

from cent import (
    BatchRequest,
    BroadcastRequest,
    CentApiResponseError,
    CentUnauthorizedError,
    ChannelsRequest,
    Client,
    Disconnect,
    DisconnectRequest,
    HistoryRemoveRequest,
    HistoryRequest,
    InfoRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)

url, key, user = sys.argv[1:]
client = Client(url, key)
channel = "lobby:main"


def refused(code, call, request):
    try:
        call(request)
    except CentApiResponseError as error:
        assert error.code == code, error
    else:
        raise AssertionError(f"{request} was carried out")


def same(one, other):
    assert one == other, f"{one} is not {other}"


placed = client.publish(PublishRequest(channel=channel, data="from cent", idempotency_key="k", tags={"a": "b"}))
same(placed.offset, 1)
same(client.publish(PublishRequest(channel=channel, data="from cent", idempotency_key="k")), placed)
refused(102, client.publish, PublishRequest(channel="undefined:channel", data={}))
refused(107, client.publish, PublishRequest(channel="", data={}))

broadcast = client.broadcast(BroadcastRequest(channels=[channel, "undefined:channel"], data={"n": 2}))
same(broadcast.responses[0].result.offset, 2)
same(broadcast.responses[1].error.code, 102)

presence = client.presence(PresenceRequest(channel=channel)).presence
same([info.user for info in presence.values()], [user])
same(client.presence_stats(PresenceStatsRequest(channel=channel)).num_clients, 1)
refused(108, client.presence, PresenceRequest(channel="plain:a"))

history = client.history(HistoryRequest(channel=channel, limit=10, since=StreamPosition(offset=1, epoch=placed.epoch)))
same([(one.offset, one.data) for one in history.publications], [(2, {"n": 2})])
same((history.offset, history.epoch), (2, placed.epoch))
newest = client.history(HistoryRequest(channel=channel, limit=1, reverse=True))
same(newest.publications[0].offset, 2)
client.history_remove(HistoryRemoveRequest(channel=channel))
same(client.history(HistoryRequest(channel=channel, limit=-1)).publications, [])

same(client.channels(ChannelsRequest(pattern="lobby:*")).channels[channel].num_clients, 1)
node = client.info(InfoRequest()).nodes[0]
same((node.num_clients, node.num_users, node.num_channels, node.num_subs), (1, 1, 1, 1))

client.subscribe(SubscribeRequest(user=user, channel="lobby:more", info={"a": 1}, data={"b": 2}))
same(client.presence_stats(PresenceStatsRequest(channel="lobby:more")).num_clients, 1)
client.unsubscribe(UnsubscribeRequest(user=user, channel="lobby:more"))
same(client.presence_stats(PresenceStatsRequest(channel="lobby:more")).num_clients, 0)
refused(102, client.subscribe, SubscribeRequest(user=user, channel="undefined:channel"))

for parallel in (False, True):
    batch = client.batch(
        BatchRequest(
            requests=[
                PublishRequest(channel=channel, data={}),
                HistoryRequest(channel=channel, limit=1, reverse=True),
                InfoRequest(),
            ],
            parallel=parallel,
        )
    )
    assert batch.replies[0].offset >= 3, batch
    same(batch.replies[1].epoch, placed.epoch)
    same(len(batch.replies[2].nodes), 1)

same(client.refresh(RefreshRequest(user="nobody", expired=True)).model_dump(), {})
client.disconnect(DisconnectRequest(user="nobody"))
client.disconnect(DisconnectRequest(user=user, disconnect=Disconnect(code=4500, reason="by cent")))

try:
    Client(url, "another-key").info(InfoRequest())
except CentUnauthorizedError:
    pass
else:
    raise AssertionError("a key that is not known was taken")
