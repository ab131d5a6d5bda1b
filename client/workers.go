package client

import (
	"context"
	"net/http"
)

// Status reads how the service is, as its /status.json says, into a value.
func (c *Client) Status(ctx context.Context, into any) error {
	return c.askJSON(ctx, http.MethodGet, "/status.json", nil, http.StatusOK, into)
}

// ChangeWorker has a worker drain, revokes it or admits it again; the name stands in a path.
func (c *Client) ChangeWorker(ctx context.Context, name, action string) error {
	resp, err := c.ask(ctx, http.MethodPost, "/workers/"+name+"/"+action, nil, http.StatusNoContent)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
