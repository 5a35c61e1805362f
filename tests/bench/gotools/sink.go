package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// store keeps exports as they came, and decodes them when it is asked: not while the server is being measured.
type store struct {
	mutex   sync.Mutex
	exports [][]byte
}

// count is what a sink says of the spans that it has. SERVER spans are told apart: there is one for each request.
type count struct {
	Exports    int `json:"exports"`
	Spans      int `json:"spans"`
	Server     int `json:"server"`
	Duplicates int `json:"duplicates"`
}

func (s *store) add(export []byte) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.exports = append(s.exports, export)
}

func (s *store) count() (count, error) {
	s.mutex.Lock()
	exports := s.exports
	s.mutex.Unlock()
	counted := count{Exports: len(exports)}
	seen := map[string]struct{}{}
	for _, export := range exports {
		var message collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(export, &message); err != nil {
			return count{}, fmt.Errorf("decode export: %w", err)
		}
		for _, resource := range message.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					id := string(span.GetTraceId()) + string(span.GetSpanId())
					if _, twice := seen[id]; twice {
						counted.Duplicates++
						continue
					}
					seen[id] = struct{}{}
					counted.Spans++
					if span.GetKind() == trace.Span_SPAN_KIND_SERVER {
						counted.Server++
					}
				}
			}
		}
	}
	return counted, nil
}

func (s *store) export(response http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err == nil && request.Header.Get("Content-Encoding") == "gzip" {
		var unzipped *gzip.Reader
		if unzipped, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(unzipped)
		}
	}
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	s.add(body)
	response.Header().Set("Content-Type", "application/x-protobuf")
	response.WriteHeader(http.StatusOK) // an empty body is an empty ExportTraceServiceResponse
}

func (s *store) report(response http.ResponseWriter, _ *http.Request) {
	counted, err := s.count()
	if err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(response).Encode(counted)
}

// last answers with the bytes of the last export, so that the bench can send it itself.
func (s *store) last(response http.ResponseWriter, _ *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.exports) == 0 {
		http.Error(response, "no export yet", http.StatusNotFound)
		return
	}
	_, _ = response.Write(s.exports[len(s.exports)-1])
}

// reset forgets all spans.
func (s *store) reset(http.ResponseWriter, *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.exports = nil
}

// raw hands gRPC messages through as bytes.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	sent, ok := message.([]byte)
	if !ok {
		return nil, fmt.Errorf("want bytes, got %T", message)
	}
	return mem.BufferSlice{mem.SliceBuffer(sent)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	received, ok := message.(*[]byte)
	if !ok {
		return fmt.Errorf("want bytes, got %T", message)
	}
	*received = data.Materialize()
	return nil
}

func (s *store) exportRPC(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var body []byte
	if err := decode(&body); err != nil {
		return nil, err
	}
	s.add(body)
	return []byte{}, nil
}

// sink takes OTLP over HTTP and gRPC on free ports of this machine, and prints both addresses as one line of JSON.
// Metrics and logs are acknowledged and forgotten. It ends when its standard input does, so with whoever started it.
func sink(arguments []string) error {
	flags := flag.NewFlagSet("sink", flag.ContinueOnError)
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	spans := &store{}
	handler := http.NewServeMux()
	handler.HandleFunc("POST /v1/traces", spans.export)
	handler.HandleFunc("POST /v1/{signal}", func(http.ResponseWriter, *http.Request) {})
	handler.HandleFunc("GET /count", spans.report)
	handler.HandleFunc("GET /last", spans.last)
	handler.HandleFunc("POST /reset", spans.reset)
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	rpc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: strings.TrimSuffix(strings.TrimPrefix(collector.TraceService_Export_FullMethodName, "/"), "/Export"),
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Export", Handler: spans.exportRPC}},
	}, struct{}{})
	fmt.Printf("{\"http\": \"http://%s\", \"grpc\": \"http://%s\"}\n", web.Addr(), rpc.Addr())
	ended := make(chan error, 3)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	go func() { ended <- (&http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}).Serve(web) }()
	go func() { ended <- server.Serve(rpc) }()
	return <-ended
}
