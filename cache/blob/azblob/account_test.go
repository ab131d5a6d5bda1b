package azblob

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"k6x/cache/blob/blobtest"
)

const key = "c2VjcmV0" // of an account

func TestEnvironmentAndParametersSayWhere(t *testing.T) {
	for _, c := range []struct{ env, params, want string }{
		{"ACCOUNT=a;KEY=" + key, "", "https://a.blob.core.windows.net/bucket/name"},
		{"ACCOUNT=a;KEY=" + key, "storage_account=b", "https://b.blob.core.windows.net/bucket/name"},
		{"ACCOUNT=a;KEY=" + key + ";DOMAIN=blob.core.usgovcloudapi.net", "", "https://a.blob.core.usgovcloudapi.net/bucket/name"},
		{"ACCOUNT=a;KEY=" + key, "domain=cdn.example.com&cdn=true", "https://cdn.example.com/bucket/name"},
		{"ACCOUNT=a;KEY=" + key + ";DOMAIN=cdn.example.com;IS_CDN=1", "", "https://cdn.example.com/bucket/name"},
		{"ACCOUNT=a;KEY=" + key, "domain=host:10000&localemu=true&protocol=http", "http://host:10000/a/bucket/name"},
		{"ACCOUNT=a;KEY=" + key + ";DOMAIN=127.0.0.1:10000;PROTOCOL=http", "", "http://127.0.0.1:10000/a/bucket/name"},
		{"ACCOUNT=a;KEY=" + key + ";DOMAIN=host;IS_LOCAL_EMULATOR=true", "", "https://host/a/bucket/name"},
		{"ACCOUNT=a;SAS_TOKEN=?sv=1&sig=x", "", "https://a.blob.core.windows.net/bucket/name?sv=1&sig=x"},
		{"CONNECTION_STRING=AccountName=a,AccountKey=" + key, "", "https://a.blob.core.windows.net/bucket/name"},
		{"CONNECTION_STRING=DefaultEndpointsProtocol=http,AccountName=a,AccountKey=" + key + ",EndpointSuffix=core.chinacloudapi.cn", "", "http://a.blob.core.chinacloudapi.cn/bucket/name"},
		{"CONNECTION_STRING=BlobEndpoint=http://host:1/a,SharedAccessSignature=sv=1&sig=x", "", "http://host:1/a/bucket/name?sv=1&sig=x"},
		{"ACCOUNT=a", "", "https://a.blob.core.windows.net/bucket/name"}, // with an identity
		{"", "storage_account=a", "https://a.blob.core.windows.net/bucket/name"},
	} {
		t.Run(c.env+" "+c.params, func(t *testing.T) {
			setEnvironment(t, c.env)
			if got := mustOpen(t, c.params).url("name", nil); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// setEnvironment sets variables, each without AZURE_STORAGE_; in a connection string commas are semicolons.
func setEnvironment(t *testing.T, env string) {
	t.Helper()
	clean(t)
	for pair := range strings.SplitSeq(env, ";") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			t.Setenv("AZURE_STORAGE_"+name, strings.ReplaceAll(value, ",", ";"))
		}
	}
}

func TestWhatCannotBeReadIsAnErrorWithoutSecrets(t *testing.T) {
	for _, c := range []struct{ env, params string }{
		{"", ""},
		{"ACCOUNT=a;KEY=hunter2!", ""},
		{"CONNECTION_STRING=AccountName=a,AccountKey=hunter2!", ""},
		{"CONNECTION_STRING=hunter2=", ""},
		{"ACCOUNT=a;KEY=" + key, "unknown=1"},
		{"ACCOUNT=a;KEY=" + key, "cdn=maybe"},
		{"ACCOUNT=a;KEY=" + key, "protocol=ftp"},
		{"ACCOUNT=a", "protocol=http"}, // its token would be sent in the clear
		{"ACCOUNT=a;KEY=" + key, "domain=x&domain=y"},
		{"ACCOUNT=a;SAS_TOKEN=sig=hunter2", "domain=evil.example.com"}, // it would be sent there
		{"ACCOUNT=a;SAS_TOKEN=sig=hunter2", "protocol=http"},
		{"SAS_TOKEN=sig=hunter2", "storage_account=evil"},
	} {
		setEnvironment(t, c.env)
		values, err := url.ParseQuery(c.params)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open("bucket", values, time.Second); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s %s: got %v", c.env, c.params, err)
		}
	}
}

// A shared access signature is enough to read and to write, and cannot sign.
func TestSharedAccessSignatureOfAzurite(t *testing.T) {
	addr := blobtest.Azurite(t)
	setEnvironment(t, "ACCOUNT="+blobtest.AzureAccount+";KEY="+blobtest.AzureKey)
	const where = "localemu=true&protocol=http&domain="
	owner := mustOpen(t, where+addr)
	if _, err := owner.Put(t.Context(), "some", strings.NewReader("x"), 1, noOptions); err != nil {
		t.Fatal(err)
	}
	signed, err := owner.SignedURL(t.Context(), "some", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(signed, "?")
	setEnvironment(t, "ACCOUNT="+blobtest.AzureAccount+";IS_LOCAL_EMULATOR=1;PROTOCOL=http;DOMAIN="+addr)
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", query)
	guest := mustOpen(t, "")
	if info, err := guest.Stat(t.Context(), "some"); err != nil || info.Size != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	if err := guest.Delete(t.Context(), "some"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Delete: got %v, want fs.ErrPermission", err)
	}
	if _, err := guest.SignedURL(t.Context(), "some", time.Minute); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SignedURL: got %v, want ErrUnsupported", err)
	}
}

func TestTokenOfAnIdentity(t *testing.T) {
	var token string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Identity-Header") != "proof" || r.URL.Query().Get("resource") != "https://storage.azure.com" {
			w.WriteHeader(http.StatusForbidden)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"access_token":"of-the-machine","expires_on":"32503680000","resource":"https://storage.azure.com","token_type":"Bearer"}`))
	}))
	defer tokens.Close()
	setEnvironment(t, "ACCOUNT=a")
	for name, value := range map[string]string{"IDENTITY_ENDPOINT": tokens.URL, "IDENTITY_HEADER": "proof"} {
		t.Setenv(name, value)
	}
	b := mustOpen(t, "localemu=true&domain="+strings.TrimPrefix(server.URL, "https://"))
	b.client.HTTP = server.Client()
	if _, err := b.Stat(t.Context(), "name"); !errors.Is(err, fs.ErrNotExist) || token != "Bearer of-the-machine" {
		t.Errorf("got %v with the token %q", err, token)
	}
}

func TestKeyIsNotInAnErrorOfTheService(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ms-Error-Code", "AuthenticationFailed")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	setEnvironment(t, "ACCOUNT=a;KEY="+base64.StdEncoding.EncodeToString([]byte("hunter2")))
	_, err := mustOpen(t, "localemu=true&protocol=http&domain="+strings.TrimPrefix(server.URL, "http://")).Stat(t.Context(), "name")
	if !errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "AuthenticationFailed") {
		t.Errorf("got %v", err)
	}
}
