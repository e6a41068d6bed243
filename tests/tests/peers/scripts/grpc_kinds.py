client = Client()
reply, call = client.unary.with_call(b"hello", timeout=20, metadata=(("token-bin", b"\x00\xff"), ("x", "1")))
assert reply == b"hello" and call.code() is grpc.StatusCode.OK
assert metadata(call.initial_metadata())["backend"] and metadata(call.trailing_metadata())["length"] == "5"

large = bytes(3_000_000)
assert client.unary(large, timeout=20) == large
assert client.unary(b"", timeout=20) == b""

stream = client.server_stream(b"1000", timeout=20)
assert [int(message) for message in stream] == list(range(1000))
assert metadata(stream.trailing_metadata())["sent"] == "1000" and stream.code() is grpc.StatusCode.OK
assert list(client.server_stream(b"0", timeout=20)) == []

assert client.client_stream((b"x" * 10_000 for _ in range(1000)), timeout=20) == b"10000000"
assert client.client_stream(iter([]), timeout=20) == b"0"

# Each message waits for the answer to the one before.
answers = threading.Semaphore(1)
def questions():
    for number in range(100):
        assert answers.acquire(timeout=20)
        yield str(number).encode()
replies = []
for reply in client.echo(questions(), timeout=20):
    replies.append(int(reply))
    answers.release()
assert replies == list(range(100))

for code in grpc.StatusCode:
    if code is grpc.StatusCode.OK:
        continue
    error = error_of(lambda: client.unary(b"status %d" % code.value[0], timeout=20))
    assert (error.code(), error.details()) == (code, "as asked: ü"), error

error = error_of(lambda: client.channel.unary_unary("/test.Test/Nothing")(b"", timeout=20))
assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error
