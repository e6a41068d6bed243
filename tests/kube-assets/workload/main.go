// What runs in the pods of a test cluster: one static program, so that an image is one file. It is the sandbox of pods too.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `workload pause                   does nothing until it is told to end
workload serve ADDRESS           answers every request with the pod's name; told to end, goes on for DRAIN (3s)
workload load URL CLIENTS        asks for ever, some hundred times a second and client; one line of JSON a second; told to
                                 end, goes on for FAREWELL (0s) and says in a line of its own what came of that
workload fetch URL COUNT         asks so many times, and fails if one fails`

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) == 1 && arguments[0] == "pause":
		pause()
	case len(arguments) == 2 && arguments[0] == "serve":
		err = serve(arguments[1])
	case len(arguments) == 3 && arguments[0] == "load":
		err = load(arguments[1], arguments[2])
	case len(arguments) == 3 && arguments[0] == "fetch":
		err = fetch(arguments[1], arguments[2])
	default:
		err = fmt.Errorf("%s", usage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pause is the first process of a namespace of processes: it buries those whose parents have gone.
func pause() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 {
				break
			}
		}
	}
}
