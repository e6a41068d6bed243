package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// serve goes on after SIGTERM: a pod is still asked until everybody has heard that it is going.
func serve(address string) error {
	drain, err := time.ParseDuration(environment("DRAIN", "3s"))
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	handler := func(response http.ResponseWriter, _ *http.Request) { fmt.Fprintln(response, name) }
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(handler)}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	select {
	case err := <-ended:
		return err
	case <-told:
		time.Sleep(drain)
		return server.Shutdown(context.Background())
	}
}

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
