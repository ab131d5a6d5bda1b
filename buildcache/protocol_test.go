package buildcache

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// talk writes requests as the go command does.
func ask(id int64, command string, action, output ID, body string) string {
	line, err := json.Marshal(request{ID: id, Command: command, ActionID: action[:], OutputID: output[:], BodySize: int64(len(body))})
	if err != nil {
		panic(err)
	}
	text := string(line) + "\n\n"
	if body != "" {
		text += `"` + base64.StdEncoding.EncodeToString([]byte(body)) + "\"\n"
	}
	return text
}

// answers reads responses by their id.
func answers(t *testing.T, out []byte) map[int64]response {
	t.Helper()
	all := make(map[int64]response)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var r response
		if err := dec.Decode(&r); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[r.ID]; twice {
			t.Errorf("%d was answered twice", r.ID)
		}
		all[r.ID] = r
	}
}

func TestServeAnswersEachRequest(t *testing.T) {
	x, empty := makeSample("x", 1<<20), makeSample("empty", 0)
	s := start(t, newCache(t, Config{}), "")
	var out bytes.Buffer
	in := ask(1, "put", x.action, x.output, x.body) + ask(2, "put", empty.action, empty.output, "") + ask(3, "get", x.action, ID{}, "") +
		ask(4, "get", empty.action, ID{}, "") + ask(5, "get", x.output, ID{}, "") + ask(6, "put2", x.action, x.output, "") +
		ask(7, "put", x.action, empty.output, x.body) + ask(8, "get", x.action, ID{}, "") + ask(9, "close", ID{}, ID{}, "")
	if err := Serve(t.Context(), strings.NewReader(in), &out, s); err != nil {
		t.Fatal(err)
	}
	got := answers(t, out.Bytes())
	if len(got) != 10 {
		t.Fatalf("%d answers", len(got))
	}
	if fmt.Sprint(got[0].KnownCommands) != "[get put close]" {
		t.Errorf("announced %v", got[0].KnownCommands)
	}
	path := s.c.local.output(x.output)
	for _, id := range []int64{3, 8} { // the wrong put of 7 changed nothing
		if r := got[id]; r.Miss || r.DiskPath != path || !bytes.Equal(r.OutputID, x.output[:]) || r.Size != 1<<20 || r.Time == nil {
			t.Errorf("%d: %+v", id, r)
		}
	}
	if r := got[1]; r.DiskPath != path || r.Err != "" {
		t.Errorf("%+v", r)
	}
	if r := got[4]; r.Miss || r.Size != 0 || r.DiskPath == "" {
		t.Errorf("%+v", r)
	}
	if r := got[5]; !r.Miss || r.DiskPath != "" {
		t.Errorf("%+v", r)
	}
	for _, id := range []int64{6, 7} {
		if got[id].Err == "" {
			t.Errorf("%d: %+v", id, got[id])
		}
	}
	if err := s.c.local.verify(x.output, 1<<20); err != nil {
		t.Error(err)
	}
}

func TestGarbledInputIsAnErrorAndKeepsNothing(t *testing.T) {
	x := makeSample("x", 1000)
	good := ask(1, "put", x.action, x.output, x.body)
	body := strings.IndexByte(good, '\n') + 2
	for name, in := range map[string]string{
		"not JSON":          "hello\n",
		"cut in a request":  good[:20],
		"cut before a body": good[:body],
		"cut in a body":     good[:body+20],
		"not base64":        good[:body+20] + "*" + good[body+21:],
		"no quote":          good[:body] + good[body+1:],
		"short body":        good[:body+1] + good[body+5:],
		"long body":         good[:body+1] + "AAAA" + good[body+1:],
		"negative size":     `{"ID":1,"Command":"put","BodySize":-1}` + "\n",
		"endless request":   `{"ID":1,"Command":"` + strings.Repeat("x", maxRequest) + `"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, newCache(t, Config{}), "")
			if err := Serve(t.Context(), strings.NewReader(in), io.Discard, s); err == nil {
				t.Error("no error")
			}
			if list := files(t, s.c.local.dir); len(list) != 0 {
				t.Errorf("kept %v", list)
			}
		})
	}
}

func TestTheEndOfInputEndsServe(t *testing.T) {
	if err := Serve(t.Context(), strings.NewReader(""), io.Discard, start(t, newCache(t, Config{}), "")); err != nil {
		t.Error(err)
	}
}

func TestAGoCommandThatIsGoneEndsServe(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	s := start(t, newCache(t, Config{}), "")
	if err := Serve(t.Context(), strings.NewReader(ask(1, "get", ID{}, ID{}, "")), w, s); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

// slowHandler answers a get when it is told to.
type slowHandler struct{ release chan struct{} }

func (h slowHandler) Get(ctx context.Context, action ID) (Entry, error) {
	<-h.release
	return Entry{Path: "x"}, nil
}

func (h slowHandler) Put(context.Context, ID, ID, int64, io.Reader) (Entry, error) {
	return Entry{Path: "y"}, nil
}

func TestASlowGetHoldsUpNobodyAndCloseWaitsForIt(t *testing.T) {
	h := slowHandler{make(chan struct{})}
	in, go1 := io.Pipe()
	go2, out := io.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- Serve(t.Context(), in, out, h)
		out.Close()
	}()
	lines := bufio.NewScanner(go2)
	next := func() (r response) {
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &r) != nil {
			t.Fatalf("got %q", lines.Text())
		}
		return r
	}
	next()
	for _, text := range []string{ask(1, "get", ID{}, ID{}, ""), ask(2, "put", ID{}, ID{}, "body")} {
		if _, err := io.WriteString(go1, text); err != nil {
			t.Fatal(err)
		}
	}
	if r := next(); r.ID != 2 {
		t.Errorf("%+v before the put", r)
	}
	if _, err := io.WriteString(go1, ask(3, "close", ID{}, ID{}, "")); err != nil {
		t.Fatal(err)
	}
	close(h.release)
	if a, b := next(), next(); a.ID != 1 || b.ID != 3 {
		t.Errorf("%+v, then %+v", a, b)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func FuzzServe(f *testing.F) {
	x := makeSample("x", 100)
	f.Add([]byte(ask(1, "put", x.action, x.output, x.body) + ask(2, "get", x.action, ID{}, "") + ask(3, "close", ID{}, ID{}, "")))
	f.Add([]byte("{\"ID\":1,\"Command\":\"put\",\"BodySize\":3}\n\n\"AAAA\n\"\n"))
	f.Add([]byte("\n\n{}\n"))
	c, err := New(Config{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := c.Start(Build{Scope: "a", Label: ""})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var out bytes.Buffer
		err = Serve(t.Context(), bytes.NewReader(in), &out, s)
		for dec := json.NewDecoder(&out); ; {
			var r response
			if err := dec.Decode(&r); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("answered %q", out.Bytes())
			}
			if r.DiskPath != "" && r.OutputID != nil && c.local.verify(ID(r.OutputID), r.Size) != nil {
				t.Fatalf("a wrong body for %x", r.OutputID)
			}
		}
		_ = err // most of it is garbled
	})
}
