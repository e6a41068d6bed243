client = Client()
notes = sys.argv[2]


def noted(text, times=1):
    wait_for(text, lambda: open(notes).read().count(text + "\n") >= times)


error = error_of(lambda: client.unary(b"sleep", timeout=0.5))
assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
noted("unary cancelled")

call = client.unary.future(b"sleep")
noted("unary begun", 2)
call.cancel()
noted("unary cancelled", 2)

stream = client.server_stream(b"-1")
assert next(stream) == b"0"
stream.cancel()
noted("stream cancelled")

stream = client.server_stream(b"-1", timeout=0.3)
error = error_of(lambda: list(stream))
assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
noted("stream cancelled", 2)

gate = threading.Event()


def requests():
    yield b"a"
    # Longer than anybody waits below: these calls end by being cancelled.
    gate.wait(60)


call = client.client_stream.future(requests())
noted("upload begun")
call.cancel()
noted("upload ended")
stream = client.echo(requests())
assert next(stream) == b"a"
stream.cancel()
noted("echo ended")
gate.set()

# A program that dies, with a call open.
import subprocess

script = "import sys, grpc; c = grpc.insecure_channel(sys.argv[1], options=[('grpc.enable_http_proxy', 0)]);" \
    "next(c.unary_stream('/test.Test/ServerStream')(b'-1')); print(flush=True); import time; time.sleep(60)"
dying = subprocess.Popen([sys.executable, "-c", script, target], stdout=subprocess.PIPE)
dying.stdout.readline()
dying.kill()
dying.wait()
noted("stream cancelled", 3)
assert client.unary(b"still here", timeout=20) == b"still here"
