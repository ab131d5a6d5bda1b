package container

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/cli/cli/connhelper"
	"github.com/moby/moby/client"

	"k6x"
)

// pingTime is for a daemon to say that it is there. One that is reached by ssh gets more.
const pingTime = 3 * time.Second

// connect returns a client of the daemon at host, or of the one that [Config.Host] says if
// that is empty. The daemon has answered.
func connect(ctx context.Context, host string) (*client.Client, error) {
	if host == "" {
		host = os.Getenv(client.EnvOverrideHost)
	}
	if host != "" {
		cli, err := dial(ctx, host)
		if e, ok := errors.AsType[*k6x.Error](err); ok && e.Hint == "" {
			e.Hint = "Is Docker or Podman running there? Check DOCKER_HOST."
		}
		return cli, err
	}
	var silent []string
	var causes []error
	for _, host := range usualHosts() {
		if file, ok := strings.CutPrefix(host, "unix://"); ok {
			if _, err := os.Stat(file); err != nil {
				causes = append(causes, err)
				continue
			}
		}
		cli, err := dial(ctx, host)
		if err == nil {
			return cli, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		silent = append(silent, k6x.AsError(err).Message)
		causes = append(causes, err)
	}
	message := "no Docker or Podman is running here"
	if len(silent) > 0 {
		message = strings.Join(silent, "; ")
	}
	return nil, k6x.Errorf(k6x.Unavailable, "%s", message).WithCause(errors.Join(causes...)).
		WithHint("Start Docker, or Podman's socket (systemctl --user start podman.socket), or set DOCKER_HOST.")
}

// usualHosts returns where daemons listen.
func usualHosts() []string {
	hosts := []string{client.DefaultDockerHost}
	if !strings.HasPrefix(client.DefaultDockerHost, "unix://") {
		return hosts
	}
	if home, err := os.UserHomeDir(); err == nil {
		hosts = append(hosts, "unix://"+filepath.Join(home, ".docker", "run", "docker.sock"))
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		hosts = append(hosts, "unix://"+filepath.Join(dir, "docker.sock"), "unix://"+filepath.Join(dir, "podman", "podman.sock"))
	}
	return append(hosts, "unix:///run/podman/podman.sock")
}

// dial returns a client of the daemon at host, which has answered.
func dial(ctx context.Context, host string) (*client.Client, error) {
	opts, wait, err := options(host)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "%s is no address of a container engine: %w", redacted(host), err).
			WithHint("It looks like unix:///var/run/docker.sock, tcp://HOST:PORT or ssh://USER@HOST.")
	}
	cli, err := client.New(opts...)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "%s cannot be used: %w", redacted(host), err)
	}
	timed, stop := context.WithTimeout(ctx, wait)
	defer stop()
	answer, err := cli.Ping(timed, client.PingOptions{NegotiateAPIVersion: true})
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		err = k6x.Errorf(k6x.Unavailable, "the container engine at %s does not answer", redacted(host)).WithCause(err)
	case errors.Is(err, os.ErrPermission):
		err = k6x.Errorf(k6x.Unavailable, "the container engine at %s may not be used by this user", redacted(host)).WithCause(err)
	case err != nil:
		err = k6x.Errorf(k6x.Unavailable, "no container engine answers at %s", redacted(host)).WithCause(err)
	case answer.OSType == "windows":
		err = k6x.Errorf(k6x.Unavailable, "the container engine at %s runs Windows containers", redacted(host)).
			WithHint("Switch it to Linux containers.")
	}
	if err != nil {
		_ = cli.Close()
		return nil, err
	}
	return cli, nil
}

// options returns those of a client of host, and how long it may take to answer.
func options(host string) (opts []client.Opt, wait time.Duration, err error) {
	opts = []client.Opt{client.WithUserAgent("k6x"), client.WithAPIVersionFromEnv()}
	scheme, _, _ := strings.Cut(host, "://")
	if !slices.Contains([]string{"unix", "tcp", "ssh", "npipe"}, scheme) {
		return nil, 0, errors.New("its scheme is not one of unix, tcp, ssh and npipe")
	}
	if scheme == "ssh" {
		helper, err := connhelper.GetConnectionHelper(host)
		if err != nil {
			return nil, 0, err
		}
		return append(opts,
			client.WithHTTPClient(&http.Client{Transport: &http.Transport{DialContext: helper.Dialer, IdleConnTimeout: time.Minute}}),
			client.WithHost(helper.Host), client.WithDialContext(helper.Dialer)), 10 * pingTime, nil
	}
	if _, err := client.ParseHostURL(host); err != nil {
		return nil, 0, errors.New("it has no address")
	}
	if scheme == "tcp" {
		if os.Getenv(client.EnvTLSVerify) != "" && os.Getenv(client.EnvOverrideCertPath) == "" {
			return nil, 0, errors.New("DOCKER_TLS_VERIFY is set, and DOCKER_CERT_PATH does not say where the certificates are")
		}
		opts = append(opts, client.WithTLSClientConfigFromEnv()) // first, as it starts from an empty client
	}
	return append(opts, client.WithHost(host)), pingTime, nil
}

// redacted returns an address without its password.
func redacted(host string) string {
	if u, err := url.Parse(host); err == nil {
		return u.Redacted()
	}
	return "the address that is set"
}
