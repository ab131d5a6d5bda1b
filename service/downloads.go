package service

import (
	"sync"
	"time"

	"k6x"
)

// downloads bounds the binaries that clients keep open, as one that reads nothing keeps the file that it is sent, whether that is in the store
// still or not. A binary counts once, and once for each client, however many download it. The zero value has no bounds.
type downloads struct {
	limit int64 // bytes in all, a quarter of that for each client; 0: no limit

	mu    sync.Mutex // guards what follows
	open  map[download]int
	bytes map[string]int64 // by client; of all by ""
}

// download is a binary that a client, or "" for all of them, has open.
type download struct{ client, key string }

// begin counts a download until it ends. Errors: Quota, Busy.
func (d *downloads) begin(client, key string, size int64) (end func(), err error) {
	if d.limit <= 0 {
		return func() {}, nil
	}
	both := []download{{client, key}, {"", key}}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range both {
		limit, kind, message := d.limit, k6x.Busy, "as many binaries as this service can have open are being downloaded"
		if one.client != "" {
			limit, kind, message = d.limit/4, k6x.Quota, "this client downloads as many binaries as it may at once"
		}
		if held := d.bytes[one.client]; d.open[one] == 0 && held > 0 && held+size > limit {
			e := k6x.Errorf(kind, "%s", message).WithHint("Try again when a download has ended.")
			e.RetryAfter = 10 * time.Second
			return nil, e
		}
	}
	if d.open == nil {
		d.open, d.bytes = map[download]int{}, map[string]int64{}
	}
	for _, one := range both {
		if d.open[one]++; d.open[one] == 1 {
			d.bytes[one.client] += size
		}
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, one := range both {
			if d.open[one]--; d.open[one] > 0 {
				continue
			}
			delete(d.open, one)
			if d.bytes[one.client] -= size; d.bytes[one.client] == 0 {
				delete(d.bytes, one.client)
			}
		}
	}, nil
}
