package builder

import "context"

type clientKey struct{}

// WithClient returns a ctx whose builds count as those of client, any text that tells
// clients apart, such as an address.
func WithClient(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

// Client returns the client of ctx, "" if none was set. For a build of [WithBackground] that
// somebody came to wait for, it is that client.
func Client(ctx context.Context) string {
	if b, ok := ctx.Value(backgroundKey{}).(*background); ok && b.isWanted() {
		return b.client
	}
	client, _ := ctx.Value(clientKey{}).(string)
	return client
}
