package builder

import "context"

type clientKey struct{}

// WithClient returns a ctx whose builds count as those of client, any text that tells
// clients apart, such as an address.
func WithClient(ctx context.Context, client string) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

// Client returns the client of ctx, "" if none was set.
func Client(ctx context.Context) string {
	client, _ := ctx.Value(clientKey{}).(string)
	return client
}
