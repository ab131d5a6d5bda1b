package app

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"time"

	"k6x/cmd/internal/cli"
	"k6x/internal/disk"
	"k6x/webhook"
)

const (
	maxWebhooks   = 20
	maxSecretFile = 64 << 10
	cursorKeep    = time.Hour // of what says how far a receiver is, of which the last counts
)

// openWebhooks makes what sends the history to the receivers that are named.
func (a *App) openWebhooks() error {
	o := a.options
	if len(o.Webhooks) == 0 || a.builds.History == nil {
		return nil
	}
	if o.WebhookSecretFile == "" || len(o.Webhooks) > maxWebhooks {
		return &cli.UsageError{Err: fmt.Errorf("--webhook needs --webhook-secret-file, and there may be %d", maxWebhooks)}
	}
	text, err := disk.ReadFile(o.WebhookSecretFile, maxSecretFile)
	if err != nil {
		return cli.Usage(fmt.Errorf("--webhook-secret-file: %w", err))
	}
	secrets, err := webhook.ParseSecrets(string(text))
	if err != nil {
		return &cli.UsageError{Err: fmt.Errorf("--webhook-secret-file %s: %w", o.WebhookSecretFile, err)}
	}
	started := time.Now()
	for _, text := range o.Webhooks {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" { // without the words of the error: the URL may be a secret
			return &cli.UsageError{Err: errors.New("--webhook is an http or https URL")}
		}
		place := *u
		place.User, place.Fragment = nil, "" // so that another password makes no other receiver
		of := sha256.Sum256([]byte(place.String()))
		a.webhooks = append(a.webhooks, webhook.New(webhook.Config{
			URL: u, Secrets: secrets, History: a.builds.History, Since: started, Logger: a.logger,
			Cursor: a.openJournal("webhooks/"+hex.EncodeToString(of[:8])+"/", cursorKeep),
		}))
	}
	return nil
}
