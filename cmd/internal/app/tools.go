package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/builder/native"
	"k6x/cmd/internal/cli"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/egress"
)

// ToolsConfig says with what the go command runs here.
type ToolsConfig struct {
	Env      []string // KEY=VALUE for the go command
	Direct   []string // patterns of modules that are fetched from their own hosts
	Sandbox  Sandbox
	Personal bool // for builds of the user's own: with the user's configuration of the go command, git and ssh
	Logger   *slog.Logger
}

// Tools are the go command of this machine, confined in its network and its files, and what builds with it. A service,
// a launcher and a build with replacements are made of them alike.
type Tools struct {
	Tool     *gotool.Tool
	Cage     *cage.Cage
	Personal []string    // files of the user that fetching may read
	Shared   *BuildCache // of the engine; nil: it shares none

	logger *slog.Logger
	opened closers
}

// closers close what was opened.
type closers []func() error

// close calls them, the last first.
func (c closers) close() error {
	var errs []error
	for _, f := range slices.Backward(c) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// OpenTools finds the go command.
func OpenTools(ctx context.Context, cfg ToolsConfig) (*Tools, error) {
	t := &Tools{logger: cfg.Logger}
	env := cfg.Env
	var own gotool.Own
	if cfg.Personal {
		own = gotool.ReadOwn()
		t.Personal = own.Files
		env = append(own.Env, cfg.Env...)
	}
	for _, kv := range cfg.Env {
		if !strings.Contains(kv, "=") {
			return nil, cli.Usage(k6x.Errorf(k6x.Invalid, "%q, for the environment of the go command, is not KEY=VALUE", kv))
		}
	}
	var err error
	if t.Tool, err = gotool.Find(ctx, env, cfg.Direct, own.Protocols...); err != nil {
		return nil, err
	}
	t.Tool.Personal = cfg.Personal
	if t.Cage, err = cfg.Sandbox.Cage(); err != nil {
		return nil, err
	}
	if t.Tool.Egress, err = egress.Start(t.Tool.Fetch, cfg.Logger); err != nil {
		return nil, err
	}
	t.OnClose(t.Tool.Egress.Close)
	for _, host := range own.Hosts { // the user has named it
		t.Tool.Egress.Allow(host)
	}
	return t, nil
}

// OnClose has [Tools.Close] call f, before what was opened earlier is closed.
func (t *Tools) OnClose(f func() error) { t.opened = append(t.opened, f) }

// Close releases all that was opened, the last first.
func (t *Tools) Close() error { return t.opened.close() }

// OpenNative opens the engine that runs the go command. Of cfg are needed what the tools do not say, and CacheDir. When all is
// closed, what was compiled may be sent to the shared build cache for sendTime; without a URL none is shared.
func (t *Tools) OpenNative(ctx context.Context, cfg native.Config, shared BuildCacheConfig, sendTime time.Duration) (*native.Engine, error) {
	cfg.Tool, cfg.Cage, cfg.Personal, cfg.Dir, cfg.Logger = t.Tool, t.Cage, t.Personal, GoDir(shared.CacheDir), t.logger
	if shared.URL != "" {
		shared.Logger = t.logger
		var err error
		if t.Shared, err = OpenBuildCache(ctx, shared); err != nil {
			return nil, cli.WrongUsage(fmt.Errorf("--build-cache: %w", err))
		}
		t.OnClose(func() error { return t.Shared.Close(sendTime) })
		cfg.BuildCache = t.Shared
	}
	engine, err := native.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	t.OnClose(engine.Close)
	return engine, nil
}
