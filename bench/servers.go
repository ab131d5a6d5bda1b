package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// server is a program that runs until the measurement ends.
type server struct {
	addr string
	cmd  *exec.Cmd
	gone chan struct{}
	tree maximum // the memory of its processes, if somebody watches
}

// start starts a program whose address is known, or is in the first line that it prints if addr is "". No
// context kills it: a server with processes of its own has to be asked to stop.
func (w *world) start(addr string, cmd *exec.Cmd) (*server, error) {
	log, err := os.CreateTemp(w.dir, "log-")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	var stdout io.Reader = strings.NewReader("")
	if addr == "" {
		if stdout, err = cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{addr: addr, cmd: cmd, gone: make(chan struct{})}
	w.servers = append(w.servers, s)
	if addr == "" {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		_, rest, _ := strings.Cut(line, "http://")
		s.addr = strings.TrimSpace(rest)
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
		close(s.gone)
	}()
	for s.addr != "" {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			return s, conn.Close()
		}
		select {
		case <-time.After(10 * time.Millisecond):
			continue
		case <-s.gone:
		}
		break
	}
	s.stop()
	said, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("%s does not start:\n%s", filepath.Base(cmd.Path), said)
}

// stop ends a server.
func (s *server) stop() { s.stopWithin(5 * time.Second) }

// stopWithin ends a server. It is killed if it takes longer to end by itself.
func (s *server) stopWithin(limit time.Duration) {
	_ = s.cmd.Process.Signal(os.Interrupt)
	select {
	case <-s.gone:
	case <-time.After(limit):
		_ = s.cmd.Process.Kill()
		<-s.gone
	}
}

func (w *world) stopServers() {
	for _, s := range w.servers {
		s.stop()
	}
	w.servers = nil
}

// service starts a k6x with a cache directory and a registry.
func (w *world) service(cacheDir, registry string, args ...string) (*server, error) {
	return w.start("", exec.Command(w.k6x, append([]string{"service", "--addr", "127.0.0.1:0",
		"--cache-dir", cacheDir, "--registry", registry}, args...)...))
}

// serveFiles is the argument with which this program is a file server.
const serveFiles = "serve-files"

// files starts the file server of net/http on a directory.
func (w *world) files(dir string) (*server, error) {
	return w.start("", exec.Command(w.self, serveFiles, dir))
}

// fileServer serves a directory until it is killed.
func fileServer(dir string, stdout io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "files are at http://%s\n", listener.Addr())
	return http.Serve(listener, http.FileServer(http.Dir(dir)))
}

const nginxConf = `daemon off; worker_processes auto; pid %[1]s/pid; error_log stderr; %[4]s
events { worker_connections 4096; }
http {
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  access_log %[1]s/access.log; sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=100;
  server { listen %[2]s; root %[3]s; }
}
`

// nginx starts nginx on a directory; nil if it is not on PATH.
func (w *world) nginx(dir string) (*server, error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		return nil, nil
	}
	own, err := w.temp("nginx")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	user := ""
	if runtime.GOOS != "windows" && os.Getuid() == 0 {
		user = "user root;" // or the workers may not read the directory
	}
	conf := filepath.Join(own, "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, own, addr, dir, user), 0o644); err != nil {
		return nil, err
	}
	return w.start(addr, exec.Command(program, "-e", "stderr", "-p", own, "-c", conf))
}

// caddy starts caddy on a directory; nil if it is not on PATH.
func (w *world) caddy(dir string) (*server, error) {
	program, err := exec.LookPath("caddy")
	if err != nil {
		return nil, nil
	}
	own, err := w.temp("caddy")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(own, "Caddyfile")
	text := fmt.Sprintf("{\n\tadmin off\n}\nhttp://%s {\n\tlog {\n\t\toutput file %s/access.log\n\t}\n\troot * %s\n\tfile_server\n}\n", addr, own, dir)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "run", "--config", conf, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+own, "XDG_CONFIG_HOME="+own, "XDG_DATA_HOME="+own)
	return w.start(addr, cmd)
}

// freeAddr returns an address that nothing listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
