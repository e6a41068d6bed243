"""All four kinds of calls, with bytes for messages. What ended early is written to a file."""
import os
import sys
import time
from concurrent import futures

import grpc

ip, notes = sys.argv[1], sys.argv[2]


def note(text):
    with open(notes, "a") as file:
        file.write(text + "\n")


def name(context):
    context.send_initial_metadata((("backend", address),))


def unary(request, context):
    name(context)
    context.set_trailing_metadata((("length", str(len(request))),))
    if request == b"sleep":
        note("unary begun")
        while context.is_active():
            time.sleep(0.01)
        note("unary cancelled")
        return b""
    if request.startswith(b"status "):
        context.abort(grpc.StatusCode(next(c.value for c in grpc.StatusCode if c.value[0] == int(request[7:]))), "as asked: ü")
    return request


def server_stream(request, context):
    name(context)
    count = int(request)
    if count < 0:
        # Told by the library: a generator whose call has ended while a message was being sent is never resumed.
        context.add_callback(lambda: note("stream cancelled"))
    number = 0
    while context.is_active() and number != count:
        yield str(number).encode()
        number += 1
        if count < 0:
            time.sleep(0.01)
    context.set_trailing_metadata((("sent", str(number)),))


def client_stream(requests, context):
    name(context)
    # The library's word, here and below: a call that was cancelled may end its requests with or without an exception.
    context.add_callback(lambda: note("upload ended"))
    total = 0
    for request in requests:
        total += len(request)
        if request == b"a":
            note("upload begun")
    return str(total).encode()


def both_stream(requests, context):
    name(context)
    context.add_callback(lambda: note("echo ended"))
    for request in requests:
        yield request


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Echo": grpc.stream_stream_rpc_method_handler(both_stream),
}
server = grpc.server(futures.ThreadPoolExecutor(64))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
port = server.add_insecure_port(f"{ip}:0")
address = f"{ip}:{port}"
server.start()
print(address, flush=True)
server.wait_for_termination()
