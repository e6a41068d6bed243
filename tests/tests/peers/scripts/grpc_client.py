"""What every script of a gRPC client begins with."""
import collections
import sys
import threading
import time

import grpc

target = sys.argv[1]
options = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]


class Client:
    def __init__(self, more=()):
        self.channel = grpc.insecure_channel(target, options=options + list(more))
        self.unary = self.channel.unary_unary("/test.Test/Unary")
        self.server_stream = self.channel.unary_stream("/test.Test/ServerStream")
        self.client_stream = self.channel.stream_unary("/test.Test/ClientStream")
        self.echo = self.channel.stream_stream("/test.Test/Echo")


def metadata(pairs):
    return {key: value for key, value in pairs}


def error_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call should have failed")


def wait_for(what, look):
    until = time.monotonic() + 20
    while not look():
        assert time.monotonic() < until, what
        time.sleep(0.01)
