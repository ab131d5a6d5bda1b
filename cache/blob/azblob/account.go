package azblob

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// account is where containers are and how requests show that they may be made: by the key of the account, by a shared access
// signature, or by a token of an identity.
type account struct {
	name     string
	endpoint *url.URL
	key      []byte                 // nil: none
	sas      string                 // of all URLs, "" if there is none
	identity azcore.TokenCredential // nil: none
}

// place says how the URL of an account is made.
type place struct {
	name, domain, protocol string
	cdn, emulator          bool
}

func (p *place) override(params url.Values) (err error) {
	for param, values := range params {
		if len(values) > 1 {
			return fmt.Errorf("there is more than one %.40q", param)
		}
		switch value := values[0]; param {
		case "domain":
			p.domain = value
		case "protocol":
			p.protocol = value
		case "storage_account":
			p.name = value
		case "cdn":
			p.cdn, err = strconv.ParseBool(value)
		case "localemu":
			p.emulator, err = strconv.ParseBool(value)
		default:
			return fmt.Errorf("unknown query parameter %.40q", param)
		}
		if err != nil {
			return fmt.Errorf("%s is true or false", param)
		}
	}
	return nil
}

func (p place) url() (*url.URL, error) {
	if p.name == "" {
		return nil, errors.New("there is no name of the account: set AZURE_STORAGE_ACCOUNT")
	}
	protocol, domain := cmp.Or(p.protocol, "https"), cmp.Or(p.domain, "blob.core.windows.net")
	if protocol != "http" && protocol != "https" {
		return nil, errors.New("the protocol is http or https")
	}
	switch {
	case p.emulator || strings.HasPrefix(domain, "127.0.0.1") || strings.HasPrefix(domain, "localhost"):
		return url.Parse(protocol + "://" + domain + "/" + p.name)
	case p.cdn:
		return url.Parse(protocol + "://" + domain)
	}
	return url.Parse(protocol + "://" + p.name + "." + domain)
}

// findAccount reads the environment and the parameters of a URL.
func findAccount(params url.Values) (a account, err error) {
	connection := parseConnection(cmp.Or(os.Getenv("AZURE_STORAGE_CONNECTION_STRING"), os.Getenv("AZURE_STORAGEBLOB_CONNECTIONSTRING")))
	p := place{
		name:     cmp.Or(os.Getenv("AZURE_STORAGE_ACCOUNT"), connection["AccountName"]),
		domain:   os.Getenv("AZURE_STORAGE_DOMAIN"),
		protocol: cmp.Or(os.Getenv("AZURE_STORAGE_PROTOCOL"), connection["DefaultEndpointsProtocol"]),
	}
	p.cdn, _ = strconv.ParseBool(os.Getenv("AZURE_STORAGE_IS_CDN"))
	p.emulator, _ = strconv.ParseBool(os.Getenv("AZURE_STORAGE_IS_LOCAL_EMULATOR"))
	own := p
	if err := p.override(params); err != nil {
		return a, err
	}
	key, sas := os.Getenv("AZURE_STORAGE_KEY"), os.Getenv("AZURE_STORAGE_SAS_TOKEN")
	if p.name == "" && len(connection) > 0 {
		p.name = "unnamed" // its URL is in the connection string
	}
	a.name = p.name
	if a.endpoint, err = p.url(); err != nil {
		return a, err
	}
	switch env := os.Getenv("AZURE_STORAGE_ACCOUNT"); {
	case env != "" && key != "":
		a.name = env
		a.key, err = base64.StdEncoding.DecodeString(key)
	case sas != "":
		home, homeErr := own.url()
		if homeErr != nil || home.Scheme != a.endpoint.Scheme || !strings.EqualFold(home.Host, a.endpoint.Host) {
			return a, errors.New("the URL cannot change the endpoint while AZURE_STORAGE_SAS_TOKEN is set, as that would send the token elsewhere")
		}
		a.sas = strings.TrimPrefix(sas, "?")
	case len(connection) > 0:
		err = a.connect(connection)
	default:
		if a.endpoint.Scheme != "https" {
			return a, errors.New("the token of an identity is sent by https only: set AZURE_STORAGE_KEY for an account that is reached by http")
		}
		a.identity, err = azidentity.NewDefaultAzureCredential(nil)
		return a, err
	}
	if err != nil { // it may have the key in its words
		return a, errors.New("the key of the account, or the connection string, cannot be read")
	}
	return a, nil
}

// parseConnection splits a connection string: Name=value;Name=value.
func parseConnection(text string) map[string]string {
	values := make(map[string]string)
	for part := range strings.SplitSeq(text, ";") {
		if name, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok {
			values[name] = value
		}
	}
	return values
}

// connect uses what a connection string says.
func (a *account) connect(connection map[string]string) (err error) {
	endpoint := connection["BlobEndpoint"]
	if endpoint == "" {
		endpoint = cmp.Or(connection["DefaultEndpointsProtocol"], "https") + "://" + connection["AccountName"] + ".blob." + cmp.Or(connection["EndpointSuffix"], "core.windows.net")
	}
	if a.endpoint, err = url.Parse(endpoint); err != nil {
		return err
	}
	if a.sas = strings.TrimPrefix(connection["SharedAccessSignature"], "?"); a.sas != "" {
		return nil
	}
	a.name = connection["AccountName"]
	if a.key, err = base64.StdEncoding.DecodeString(connection["AccountKey"]); err == nil && (a.name == "" || len(a.key) == 0) {
		err = errors.New("there is no key")
	}
	return err
}

// authorize adds credentials to a request.
func (a *account) authorize(r *http.Request) error {
	r.Header.Set("X-Ms-Version", version)
	r.Header.Set("X-Ms-Date", time.Now().UTC().Format(http.TimeFormat))
	switch {
	case a.key != nil:
		r.Header.Set("Authorization", "SharedKey "+a.name+":"+a.mac(a.stringToSign(r)))
	case a.identity != nil:
		token, err := a.identity.GetToken(r.Context(), policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}})
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token.Token)
	}
	return nil
}

func (a *account) mac(text string) string {
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// stringToSign is that of Shared Key (https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key).
func (a *account) stringToSign(r *http.Request) string {
	length := ""
	if r.ContentLength > 0 {
		length = strconv.FormatInt(r.ContentLength, 10)
	}
	h := r.Header
	lines := []string{
		r.Method, h.Get("Content-Encoding"), h.Get("Content-Language"), length, h.Get("Content-Md5"), h.Get("Content-Type"), "", // the date is in a header of its own
		h.Get("If-Modified-Since"), h.Get("If-Match"), h.Get("If-None-Match"), h.Get("If-Unmodified-Since"), h.Get("Range"),
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
			lines = append(lines, lower+":"+h.Get(name))
		}
	}
	lines = append(lines, "/"+a.name+r.URL.EscapedPath())
	query := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		lines = append(lines, strings.ToLower(name)+":"+strings.Join(slices.Sorted(slices.Values(query[name])), ","))
	}
	return strings.Join(lines, "\n")
}

// What a signed URL may do with its blob.
const (
	read   = "r"
	create = "c" // if there is none
)

// sign returns the query of a URL that may do one thing with one blob, a service SAS
// (https://learn.microsoft.com/rest/api/storageservices/create-service-sas).
func (a *account) sign(may, path string, life time.Duration, now time.Time) (url.Values, error) {
	if a.key == nil {
		return nil, fmt.Errorf("without the key of the account there are no signed URLs: %w", errors.ErrUnsupported)
	}
	start, end := now.UTC().Format(time.RFC3339), now.UTC().Add(life).Format(time.RFC3339)
	const ofBlob = "b"
	text := strings.Join([]string{
		may, start, end, "/blob/" + a.name + "/" + path, "", "", "", version, ofBlob, "", "", "", "", "", "", "",
	}, "\n")
	return url.Values{"sv": {version}, "sr": {ofBlob}, "sp": {may}, "st": {start}, "se": {end}, "sig": {a.mac(text)}}, nil
}
