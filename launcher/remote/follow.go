package remote

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"regexp"
	"time"

	"k6x"
)

// often is how much time goes by between two questions after what a service does.
const often = time.Second

var wordSyntax = regexp.MustCompile(`^[a-z]{1,20}$`)

// follower returns what tells of what the service does while it builds; nil if nobody wants to know. A
// service that does not say is asked once.
func (c *Client) follower(e Event, platform k6x.Platform, pinned k6x.List) func(context.Context) {
	if c.Progress == nil || e.Step != Building {
		return nil
	}
	return func(ctx context.Context) {
		ticker := time.NewTicker(often)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			doing, ok := c.doing(ctx, platform, pinned)
			if !ok {
				return
			}
			if doing.Step != "" && ctx.Err() == nil {
				e.Doing, e.Done, e.Total = doing.Step, doing.Done, doing.Total
				c.tell(e)
			}
		}
	}
}

// doing is what a service says of a build.
type doing struct {
	Step  string `json:"step"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
}

// doing asks what the service does, which may be nothing that it can tell; it is not ok if there is no
// use in asking again.
func (c *Client) doing(ctx context.Context, platform k6x.Platform, pinned k6x.List) (d doing, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 10*often)
	defer cancel()
	u := c.Base.JoinPath("progress")
	u.RawPath = u.EscapedPath() + pinned.Path(platform)
	u.Path += "/" + platform.String() + "/" + pinned.String()
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	resp, err := c.once(ctx, http.MethodGet, u, nil)
	if err != nil {
		return d, false
	}
	defer resp.Body.Close()
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return d, true
	case resp.StatusCode != http.StatusOK || media != "application/json":
		return d, false
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxWords)).Decode(&d)
	return d, err == nil && wordSyntax.MatchString(d.Step) && d.Done >= 0 && d.Total >= 0
}
