"""A chat client on python-socketio, as an app in Python would have it.

Arguments: URL, token, room, transports with commas between. Each line of the input is sent as a message; each line of
the output is one thing that happened, as JSON.
"""

import asyncio
import json
import sys

import socketio

URL, TOKEN, ROOM, TRANSPORTS = sys.argv[1:5]
client = socketio.AsyncClient(reconnection_delay=0.2, reconnection_delay_max=1)


def tell(kind, *values):
    print(json.dumps([kind, *values]), flush=True)


async def join():
    tell("joined", await client.call("join_room", ROOM))


@client.event
async def connect():
    tell("connected")
    # In a task of its own: the answer arrives only when this handler has returned.
    client.start_background_task(join)


# Handlers take exactly the arguments of an event: one more is a TypeError.


@client.event
async def room_history(messages):
    tell("history", messages)


@client.event
async def new_message(message):
    tell("message", message)


@client.event
async def user_joined(who):
    tell("arrival", who)


@client.event
async def user_left(who):
    tell("departure", who)


@client.event
async def announcement(message, meta):
    tell("announcement", message, meta)


@client.event
async def invoice_paid(data, meta):
    tell("notification", data, meta)


@client.event
async def error(refusal):
    tell("error", refusal)


async def main():
    await client.connect(
        URL,
        auth={"token": TOKEN, "recovery": False},
        transports=TRANSPORTS.split(","),
        wait_timeout=20,
    )
    tell("transport", client.transport())
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        tell("sent", await client.call("send_message", {"roomId": ROOM, "text": line.strip()}))


asyncio.run(main())
