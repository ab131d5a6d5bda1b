package service

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"k6x"
	"k6x/resolver"
)

// alive answers GET of /alive: the process is up.
func (s *Service) alive(w *response, _ *http.Request) error {
	w.outcome = "status"
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// Part is something that the service needs, and how it is.
type Part struct {
	Name    string    `json:"name"` // store, disk, registries or go
	Works   bool      `json:"works"`
	Message string    `json:"message,omitempty"` // what does not work, and what to do about it
	Since   time.Time `json:"since,omitzero"`    // when that began
}

// readiness is the body of /ready.
type readiness struct {
	Ready      bool                    `json:"ready"`
	Message    string                  `json:"message,omitempty"`
	Parts      []Part                  `json:"parts,omitempty"`
	Registries []resolver.SourceStatus `json:"registries"`
}

// ready answers GET of /ready: 200 if requests should be sent here, else 503. What does not work is named, but is no
// reason to send requests elsewhere: what is at hand is served all the same.
func (s *Service) ready(w *response, _ *http.Request) error {
	w.outcome = "status"
	body := readiness{Ready: true, Registries: s.cfg.Resolver.Sources()}
	status := http.StatusOK
	var messages []string
	if s.cfg.Parts != nil {
		body.Parts = s.cfg.Parts()
	}
	for _, part := range body.Parts {
		if !part.Works {
			messages = append(messages, part.Message)
		}
	}
	body.Message = strings.Join(messages, "; ")
	select {
	case <-s.draining:
		body.Ready, body.Message, status = false, errDraining.Message, http.StatusServiceUnavailable
	default:
	}
	return writeStatus(w, status, body)
}

// writeStatus answers with what holds now.
func writeStatus(w *response, status int, body any) error {
	text, err := encodeJSON(body)
	if err != nil {
		return err
	}
	return writeJSON(w, status, text)
}

func encodeJSON(body any) ([]byte, error) {
	text, err := json.MarshalIndent(body, "", "  ")
	return append(text, '\n'), err
}

// writeJSON answers with what [encodeJSON] returned.
func writeJSON(w *response, status int, text []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, err := w.Write(text)
	return err
}

// usage answers GET of / with how to use the service.
func (s *Service) usage(w *response, r *http.Request) error {
	w.outcome = "status"
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, err := fmt.Fprintf(w, `k6x builds k6 with the extensions that you name.

    %s

Leave out a version for the newest; the answer redirects to the URL that names one binary for ever.
`, s.Usage(s.origin(r).String()))
	return err
}

// Usage returns a command that gets a binary, from origin unless the configuration has another base.
func (s *Service) Usage(origin string) string {
	token := ""
	if s.cfg.Tokens != nil {
		token = ` -u ":$TOKEN"`
	}
	platform := k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}
	return "curl -fL" + token + " -o k6 " + s.base(origin) + s.location("/"+platform.String()+"/k6,k6/x/redis")
}
