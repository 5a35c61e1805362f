package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rakyll/hey/requester"
)

// unlimited is more than any run reaches; hey counts in int.
const unlimited = 1 << 30

// result is what load prints, as one line of JSON. Times are in seconds.
type result struct {
	Sent    int64   `json:"sent"`
	OK      int     `json:"ok"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
}

// load sends requests over a number of connections, each as soon as its last one is answered. Every request has the
// trace headers of Cloud Run's front end, with a random trace id: https://cloud.google.com/run/docs/trace
func load(arguments []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	url := flags.String("url", "", "address to request")
	body := flags.String("body", "", "file to POST as OTLP; none: GET")
	connections := flags.Int("connections", 16, "connections")
	requests := flags.Int("requests", unlimited, "requests at most; a multiple of connections")
	duration := flags.Duration("duration", time.Hour, "time after which no more requests start")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	var payload []byte
	if *body != "" {
		var err error
		if payload, err = os.ReadFile(*body); err != nil {
			return fmt.Errorf("read body: %w", err)
		}
	}
	first, err := request(*url, payload)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}

	var sent atomic.Int64
	var output bytes.Buffer
	work := &requester.Work{
		Request: first,
		RequestFunc: func() *http.Request {
			sent.Add(1)
			made, _ := request(*url, payload) // as the first one, which could be made
			return made
		},
		N:       *requests,
		C:       *connections,
		Timeout: 20,
		Output:  answered,
		Writer:  &output,
	}
	timer := time.AfterFunc(*duration, work.Stop)
	started := time.Now()
	work.Run()
	seconds := time.Since(started).Seconds()
	timer.Stop()

	latencies, others, err := successes(&output)
	if err != nil {
		return err
	}
	if len(latencies) == 0 {
		return fmt.Errorf("none of %d requests to %s was answered with 200; by status: %v", sent.Load(), *url, others)
	}
	slices.Sort(latencies)
	at := func(share float64) float64 { return latencies[int(share*float64(len(latencies)-1))] }
	return json.NewEncoder(os.Stdout).Encode(result{
		sent.Load(), len(latencies), seconds, at(0.5), at(0.99),
	})
}

func request(url string, body []byte) (*http.Request, error) {
	if body != nil {
		made, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
		if err == nil {
			made.Header.Set("Content-Type", "application/x-protobuf")
		}
		return made, err
	}
	made, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	trace := fmt.Sprintf("%016x%016x", rand.Uint64()|1, rand.Uint64())
	span := rand.Uint64() | 1
	made.Header.Set("traceparent", fmt.Sprintf("00-%s-%016x-00", trace, span))
	made.Header.Set("X-Cloud-Trace-Context", fmt.Sprintf("%s/%d;o=0", trace, span))
	return made, nil
}

// answered makes hey print what each answer took, in seconds, and its status; its own tables round to 0.1 ms.
const answered = "{{ range $i, $seconds := .Lats }}{{ $seconds }} {{ index $.StatusCodes $i }}\n{{ end }}"

// successes returns the seconds that each request took that was answered with 200, and the number of other answers by
// status.
func successes(lines io.Reader) ([]float64, map[int]int, error) {
	var latencies []float64
	others := map[int]int{}
	for {
		var seconds float64
		var status int
		_, err := fmt.Fscan(lines, &seconds, &status)
		if errors.Is(err, io.EOF) {
			return latencies, others, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read results: %w", err)
		}
		if status == http.StatusOK {
			latencies = append(latencies, seconds)
		} else {
			others[status]++
		}
	}
}
