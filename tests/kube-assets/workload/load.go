package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// totals is what became of all requests so far.
type totals struct {
	sync.Mutex
	Answered int            `json:"answered"`
	Failed   int            `json:"failed"`
	By       map[string]int `json:"by"`
	// Why the last one failed.
	Reason string `json:"reason"`
}

// The machine has other things to do.
const between = 5 * time.Millisecond

var client = http.Client{Timeout: 10 * time.Second}

// ask returns which pod answered.
func ask(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", response.Status, body)
	}
	return strings.TrimSpace(string(body)), nil
}

func load(url, clients string) error {
	count, err := strconv.Atoi(clients)
	if err != nil {
		return err
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = count
	all := totals{By: map[string]int{}}
	for range count {
		go func() {
			for {
				all.take(ask(&client, url))
				time.Sleep(between)
			}
		}()
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	for second := time.Tick(time.Second); ; {
		select {
		case <-told:
			return all.sayFarewell(url)
		case <-second:
			if err := all.print(); err != nil {
				return err
			}
		}
	}
}

// sayFarewell goes on for FAREWELL (0s) after SIGTERM, each time with a name that is looked up and a connection that is opened
// for it alone: what an application does that writes its last lines somewhere.
func (all *totals) sayFarewell(url string) error {
	farewell, err := time.ParseDuration(environment("FAREWELL", "0s"))
	if err != nil {
		return err
	}
	fresh := http.Client{Timeout: client.Timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	last := totals{By: map[string]int{}}
	for end := time.Now().Add(farewell); time.Now().Before(end); time.Sleep(between) {
		last.take(ask(&fresh, url))
	}
	if farewell > 0 {
		if err := last.print(); err != nil {
			return err
		}
	}
	return all.print()
}

func fetch(url, times string) error {
	count, err := strconv.Atoi(times)
	for range count {
		name, err := ask(&client, url)
		if err != nil {
			return err
		}
		fmt.Println(name)
	}
	return err
}

func (all *totals) take(name string, err error) {
	all.Lock()
	defer all.Unlock()
	if err != nil {
		all.Failed++
		all.Reason = err.Error()
		return
	}
	all.Answered++
	all.By[name]++
}

func (all *totals) print() error {
	all.Lock()
	defer all.Unlock()
	return json.NewEncoder(os.Stdout).Encode(all)
}
