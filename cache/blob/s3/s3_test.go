package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/cache/blob/internal/names"
)

// clean gives the test an environment without credentials but these.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN",
		"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_ACCESS_KEY_ID", blobtest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", blobtest.SecretKey)
}

func mustOpen(t *testing.T, endpoint string) *Bucket {
	t.Helper()
	b, err := Open(blobtest.BucketName, url.Values{"endpoint": {endpoint}, "s3ForcePathStyle": {"true"}}, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestPartsOfBrokenUploadsAreRemovedOnceTheyAreOld(t *testing.T) {
	clean(t)
	b := mustOpen(t, "http://"+blobtest.Versity(t))
	part := blob.Prefixed(b, "part/")
	for _, key := range []string{"part/a b", "other"} {
		id, err := b.core.NewMultipartUpload(t.Context(), b.name, escape(key), minio.PutObjectOptions{})
		if err == nil {
			_, err = b.core.PutObjectPart(t.Context(), b.name, escape(key), id, 1, strings.NewReader("bytes"), 5, minio.PutObjectPartOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		before time.Time
		want   string
	}{{time.Now().Add(-time.Hour), "other part/a b"}, {time.Now().Add(time.Hour), "other"}} {
		if err := part.(blob.Sweeper).Sweep(t.Context(), "", c.before); err != nil {
			t.Error(err)
		}
		var left []string
		for upload := range b.core.ListIncompleteUploads(t.Context(), b.name, "", true) {
			left = append(left, names.Unescape(upload.Key))
		}
		if slices.Sort(left); strings.Join(left, " ") != c.want {
			t.Errorf("left %q, want %s", left, c.want)
		}
	}
}

// where returns the URL of a blob in a bucket, without its signature.
func where(t *testing.T, params string) (string, error) {
	t.Helper()
	values, err := url.ParseQuery(params)
	if err != nil {
		t.Fatal(err)
	}
	return whereBucket(t, "bucket", values)
}

func whereBucket(t *testing.T, name string, params url.Values) (string, error) {
	t.Helper()
	b, err := Open(name, params, time.Second)
	if err != nil {
		return "", err
	}
	signed, err := b.SignedURL(t.Context(), "name", time.Minute)
	address, _, _ := strings.Cut(signed, "?")
	return address, err
}

func TestParametersSayWhere(t *testing.T) {
	for _, c := range []struct{ params, env, want string }{
		{"region=eu-west-1", "", "https://bucket.s3.eu-west-1.amazonaws.com/name"},
		{"region=eu-west-1&s3ForcePathStyle=true", "", "https://s3.eu-west-1.amazonaws.com/bucket/name"},
		{"region=eu-west-1&use_path_style=true", "", "https://s3.eu-west-1.amazonaws.com/bucket/name"},
		{"region=eu-west-1&disable_https=true", "", "http://bucket.s3.eu-west-1.amazonaws.com/name"},
		{"region=eu-west-1&dualstack=true", "", "https://bucket.s3.dualstack.eu-west-1.amazonaws.com/name"},
		{"region=us-east-1&fips=true", "", "https://bucket.s3-fips.us-east-1.amazonaws.com/name"},
		{"region=us-east-1&fips=true&dualstack=true", "", "https://bucket.s3-fips.dualstack.us-east-1.amazonaws.com/name"},
		{"region=eu-west-1&accelerate=true", "", "https://bucket.s3-accelerate.amazonaws.com/name"},
		{"region=cn-north-1", "", "https://bucket.s3.cn-north-1.amazonaws.com.cn/name"},
		{"", "AWS_REGION=eu-west-2", "https://bucket.s3.eu-west-2.amazonaws.com/name"},
		{"", "AWS_DEFAULT_REGION=eu-west-3", "https://bucket.s3.eu-west-3.amazonaws.com/name"},
		{"region=us-east-1", "AWS_USE_FIPS_ENDPOINT=true", "https://bucket.s3-fips.us-east-1.amazonaws.com/name"},
		{"region=us-east-1&fips=false", "AWS_USE_FIPS_ENDPOINT=true", "https://bucket.s3.us-east-1.amazonaws.com/name"},
		{"region=eu-west-1", "AWS_USE_DUALSTACK_ENDPOINT=true", "https://bucket.s3.dualstack.eu-west-1.amazonaws.com/name"},
		{"endpoint=https://minio.example.com&s3ForcePathStyle=true", "", "https://minio.example.com/bucket/name"},
		{"endpoint=http://minio.example.com:9000", "", "http://bucket.minio.example.com:9000/name"},
		{"endpoint=minio.example.com&disableSSL=true&s3ForcePathStyle=1", "", "http://minio.example.com/bucket/name"},
		{"s3ForcePathStyle=true", "AWS_ENDPOINT_URL_S3=http://localhost:9000", "http://localhost:9000/bucket/name"},
		{"endpoint=http://h&rate_limiter_capacity=5&hostname_immutable=true&request_checksum_calculation=when_required&response_checksum_validation=when_required&awssdk=v2&s3ForcePathStyle=true",
			"", "http://h/bucket/name"},
	} {
		t.Run(c.params+c.env, func(t *testing.T) {
			clean(t)
			if name, value, ok := strings.Cut(c.env, "="); ok {
				t.Setenv(name, value)
			}
			if got, err := where(t, c.params); err != nil || got != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestBucketIsInThePathWhereItCannotBeInTheHost(t *testing.T) {
	clean(t)
	for _, c := range []struct{ bucket, endpoint, want string }{
		{"bucket", "http://192.0.2.1:9000", "http://192.0.2.1:9000/bucket/name"},
		{"bucket", "https://[2001:db8::1]:9000", "https://[2001:db8::1]:9000/bucket/name"},
		{"bucket", "http://localhost:9000", "http://bucket.localhost:9000/name"},
		{"my.bucket", "https://s3.example.com", "https://s3.example.com/my.bucket/name"},
		{"my.bucket", "http://s3.example.com", "http://my.bucket.s3.example.com/name"},
		{"My-Bucket", "http://s3.example.com", "http://s3.example.com/My-Bucket/name"},
		{"my_bucket", "https://s3.example.com", "https://s3.example.com/my_bucket/name"},
		{"my.bucket", "", "https://s3.eu-west-1.amazonaws.com/my.bucket/name"},
	} {
		params := url.Values{"region": {"eu-west-1"}}
		if c.endpoint != "" {
			params.Set("endpoint", c.endpoint)
		}
		if got, err := whereBucket(t, c.bucket, params); err != nil || got != c.want {
			t.Errorf("%s at %s: got %s, %v, want %s", c.bucket, c.endpoint, got, err, c.want)
		}
	}
}

func TestDomainFollowsTheRegion(t *testing.T) {
	for region, want := range map[string]string{"eu-west-1": ".amazonaws.com", "cn-north-1": ".amazonaws.com.cn"} {
		if got := (&config{region: region}).domain(); got != want {
			t.Errorf("%s: got %s, want %s", region, got, want)
		}
	}
}

func TestParametersThatMeanNothingAreRefused(t *testing.T) {
	clean(t)
	for _, params := range []string{"", "region=x&unknown=1", "region=x&fips=maybe", "region=x&role=admin", "endpoint=ftp://host", "endpoint=http://user:hunter2@host", "endpoint=http://host/path"} {
		if got, err := where(t, params); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %s, %v", params, got, err)
		}
	}
}

// who returns the access key that a request is signed with.
func who(t *testing.T, params string) (key string, err error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		key, _, _ = strings.Cut(rest, "/")
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	values, err := url.ParseQuery("s3ForcePathStyle=true&endpoint=" + server.URL + "&" + params)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open("bucket", values, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer b.Close()
	if _, err := b.Stat(t.Context(), "name"); !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return key, nil
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return name
	}
	runs := filepath.Join(dir, "runs")
	process := write("process", "#!/bin/sh\necho >>"+runs+"\necho '{\"Version\":1,\"AccessKeyId\":\"of-process\",\"SecretAccessKey\":\"s\"}'\n")
	token := write("token", "proof")
	secrets := write("credentials", "[default]\naws_access_key_id = of-default\naws_secret_access_key = s\n[other]\naws_access_key_id = of-other\naws_secret_access_key = s\n")
	config := write("config", "[default]\nregion = eu-north-1\n[profile process]\ncredential_process = "+process+"\n[profile failing]\ncredential_process = exit 1\n[profile login]\n"+
		"sso_start_url = https://login.example.com\nsso_role_name = r\nsso_account_id = 1\nsso_region = eu-north-1\n[profile half]\naws_access_key_id = half\n"+
		"[profile elsewhere]\nendpoint_url = https://minio.example.com\n[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = other\n")
	roles := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost { // STS
			r.ParseForm()
			if r.Form.Get("WebIdentityToken") == "proof" {
				io.WriteString(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
					`<AccessKeyId>of-workload</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>`+
					`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
				return
			}
			by := "nobody"
			for _, known := range []string{"of-default", "of-other"} {
				if strings.Contains(r.Header.Get("Authorization"), "Credential="+known+"/") {
					by = known
				}
			}
			fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s-by-%s</AccessKeyId>`+
				`<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
				strings.TrimPrefix(r.Form.Get("RoleArn"), "arn:"), by)
			return
		}
		io.WriteString(w, `{"AccessKeyId":"of-container","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z","Code":"Success"}`)
	}))
	defer roles.Close()
	for _, c := range []struct {
		name, params string
		env          map[string]string
		want         string
	}{
		{"the environment comes first", "", map[string]string{"AWS_ACCESS_KEY_ID": "of-env", "AWS_SECRET_ACCESS_KEY": "s"}, "of-env"},
		{"then the default profile", "", nil, "of-default"},
		{"or the one that the environment names", "", map[string]string{"AWS_PROFILE": "other"}, "of-other"},
		{"or the one that the URL names", "profile=other", map[string]string{"AWS_ACCESS_KEY_ID": "of-env", "AWS_SECRET_ACCESS_KEY": "s"}, "of-other"},
		{"a profile may name a program", "profile=process", nil, "of-process"},
		{"then the role of a container", "profile=none", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": roles.URL}, "of-container"},
		{"that of a workload comes before the default profile", "", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:w", "AWS_ENDPOINT_URL_STS": roles.URL}, "of-workload"},
		{"but not before one that the URL names", "profile=other", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ENDPOINT_URL_STS": roles.URL}, "of-other"},
		{"a role is assumed", "role=arn:r", map[string]string{"AWS_ENDPOINT_URL_STS": roles.URL}, "r-by-of-default"},
		{"a role is assumed by a profile", "role=arn:r&profile=other", map[string]string{"AWS_ENDPOINT_URL_STS": roles.URL}, "r-by-of-other"},
		{"without", "anonymous=true", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			clean(t)
			t.Setenv("AWS_ACCESS_KEY_ID", "")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "")
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", secrets)
			t.Setenv("AWS_CONFIG_FILE", config)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			if got, err := who(t, c.params); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	t.Run("there are none", func(t *testing.T) {
		clean(t)
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		if got, err := who(t, ""); err == nil || !strings.Contains(err.Error(), "no credentials") || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("the role of a profile is not read, and said so", func(t *testing.T) {
		clean(t)
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_CONFIG_FILE", config)
		if _, err := who(t, "profile=role"); err == nil || !strings.Contains(err.Error(), "role=ARN") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what is set up and fails is not replaced by other rights", func(t *testing.T) {
		clean(t)
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", secrets)
		t.Setenv("AWS_CONFIG_FILE", config)
		t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", roles.URL)
		t.Setenv("HOME", dir)
		for profile, want := range map[string]string{"failing": "credential_process", "login": "aws sso login", "half": "partial"} {
			if got, err := who(t, "profile="+profile); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, %v", profile, got, err)
			}
		}
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", filepath.Join(dir, "missing"))
		if got, err := who(t, ""); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a workload without its token: got %q, %v", got, err)
		}
	})
	t.Run("keys of the environment do not hide the role of a profile that the URL names", func(t *testing.T) {
		clean(t)
		t.Setenv("AWS_CONFIG_FILE", config)
		if got, err := who(t, "profile=role"); err == nil || !strings.Contains(err.Error(), "role=ARN") {
			t.Errorf("got %q, %v", got, err)
		}
		t.Setenv("AWS_PROFILE", "role")
		if got, err := who(t, ""); err != nil || got != blobtest.AccessKey {
			t.Errorf("the environment's: got %q, %v", got, err)
		}
	})
	t.Run("a program that gives keys without an end runs once", func(t *testing.T) {
		clean(t)
		t.Setenv("AWS_CONFIG_FILE", config)
		if err := os.Remove(runs); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		b, err := Open("bucket", url.Values{"endpoint": {roles.URL}, "profile": {"process"}}, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for range 3 {
			if _, err := b.SignedURL(t.Context(), "name", time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		if data, err := os.ReadFile(runs); err != nil || len(data) != 1 {
			t.Errorf("it ran %d times, %v", len(data), err)
		}
	})
	t.Run("the endpoint of a profile", func(t *testing.T) {
		clean(t)
		t.Setenv("AWS_CONFIG_FILE", config)
		if got, err := where(t, "profile=elsewhere"); err == nil || got != "" {
			t.Errorf("it has no keys: got %s, %v", got, err)
		}
		t.Setenv("AWS_PROFILE", "elsewhere")
		if got, err := where(t, ""); err != nil || got != "https://bucket.minio.example.com/name" {
			t.Errorf("got %s, %v", got, err)
		}
		if got, err := where(t, "endpoint=http://localhost:9000"); err != nil || got != "http://bucket.localhost:9000/name" {
			t.Errorf("got %s, %v", got, err)
		}
	})
	t.Run("the region of a profile", func(t *testing.T) {
		clean(t)
		t.Setenv("AWS_CONFIG_FILE", config)
		if got, err := where(t, ""); err != nil || got != "https://bucket.s3.eu-north-1.amazonaws.com/name" {
			t.Errorf("got %s, %v", got, err)
		}
	})
}

// Each answer of a server is the error that callers look for.
func TestAnswersAreErrors(t *testing.T) {
	for code, want := range map[string]error{
		"404 NoSuchKey": fs.ErrNotExist, "404 NoSuchBucket": fs.ErrNotExist, "403 AccessDenied": fs.ErrPermission, "412 PreconditionFailed": fs.ErrExist,
		"409 ConditionalRequestConflict": blob.ErrContended, "403 QuotaExceeded": blob.ErrFull, "507 XMinioStorageFull": blob.ErrFull, "403 InvalidObjectState": fs.ErrNotExist,
	} {
		clean(t)
		status, code, _ := strings.Cut(code, " ")
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(status)
			w.WriteHeader(n)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>because</Message></Error>", code)
		}))
		b := mustOpen(t, server.URL)
		_, err := b.Put(t.Context(), "name", strings.NewReader("x"), 1, blob.PutOptions{IfAbsent: true})
		server.Close()
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "because") {
			t.Errorf("%s: got %v, want %v", code, err, want)
		}
	}
}

// A listing that ends early is not taken for the whole one.
func TestListingWhoseContextEndsBetweenPagesIsAnError(t *testing.T) {
	clean(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken><Contents><Key>name</Key>`+
			`<LastModified>2025-01-01T00:00:00Z</LastModified><ETag>"x"</ETag><Size>1</Size></Contents></ListBucketResult>`)
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listed := 0
	var last error
	for _, err := range mustOpen(t, server.URL).List(ctx, "") {
		listed, last = listed+1, err
		cancel()
	}
	if listed != 2 || !errors.Is(last, context.Canceled) {
		t.Errorf("listed %d, the last with %v", listed, last)
	}
}

// uploads is a server of S3 that takes parts, and answers to the rest of an upload as it is told to.
func uploads(t *testing.T, secure bool, complete, abort, stat func(w http.ResponseWriter)) *Bucket {
	t.Helper()
	clean(t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch query := r.URL.Query(); {
		case query.Has("uploads"):
			io.WriteString(w, "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>name</Key><UploadId>1</UploadId></InitiateMultipartUploadResult>")
		case r.Method == http.MethodPut:
			sum := md5.New()
			io.Copy(sum, r.Body)
			if secure && r.Header.Get("Content-Md5") != base64.StdEncoding.EncodeToString(sum.Sum(nil)) {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			w.Header().Set("Etag", fmt.Sprintf(`"%x"`, sum.Sum(nil)))
		case r.Method == http.MethodPost:
			complete(w)
		case r.Method == http.MethodDelete:
			abort(w)
		case r.Method == http.MethodHead:
			stat(w)
		}
	})
	server := httptest.NewUnstartedServer(handler)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	b := mustOpen(t, server.URL)
	if secure {
		b.http.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	}
	return b
}

// answer returns what writes an error of a service.
func answer(status int, code string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>because</Message></Error>", code)
	}
}

// completed answers as to an upload that is complete.
func completed(w http.ResponseWriter) {
	io.WriteString(w, "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>name</Key><ETag>x</ETag></CompleteMultipartUploadResult>")
}

func putLarge(t *testing.T, b *Bucket, o blob.PutOptions) (blob.Info, error) {
	t.Helper()
	const size = blob.PartSize + 1
	return b.Put(t.Context(), "name", bytes.NewReader(make([]byte, size)), size, o)
}

// Buckets with Object Lock refuse what comes without one.
func TestPutsOverTLSHaveAChecksum(t *testing.T) {
	b := uploads(t, true, completed, nil, nil)
	if err := blob.PutBytes(t.Context(), b, "name", []byte("some"), blob.PutOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := putLarge(t, b, blob.PutOptions{}); err != nil {
		t.Errorf("in parts: %v", err)
	}
}

func TestUploadThatCannotBeTakenBackHasTheErrorOfTheUpload(t *testing.T) {
	for code, want := range map[string]error{"AccessDenied": fs.ErrPermission, "PreconditionFailed": fs.ErrExist} {
		status := map[string]int{"AccessDenied": 403, "PreconditionFailed": 412}[code]
		b := uploads(t, false, answer(status, code), answer(http.StatusNotFound, "NoSuchUpload"), answer(http.StatusNotFound, "NoSuchKey"))
		_, err := putLarge(t, b, blob.PutOptions{})
		if !errors.Is(err, want) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "taken back") {
			t.Errorf("%s: got %v, want %v", code, err, want)
		}
	}
}

func TestUploadWhoseAnswerIsLostIsThere(t *testing.T) {
	part := func(size int) string { sum := md5.Sum(make([]byte, size)); return string(sum[:]) }
	etag := fmt.Sprintf("%x-2", md5.Sum([]byte(part(blob.PartSize)+part(1))))
	stat := func(etag string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Etag", `"`+etag+`"`)
			w.Header().Set("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
		}
	}
	lost := answer(http.StatusNotFound, "NoSuchUpload")
	if info, err := putLarge(t, uploads(t, false, lost, nil, stat(etag)), blob.PutOptions{}); err != nil || info.ETag != etag {
		t.Errorf("got %+v, %v", info, err)
	}
	gone := func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }
	if _, err := putLarge(t, uploads(t, false, lost, gone, stat("other-2")), blob.PutOptions{}); err == nil {
		t.Error("another blob is there, and there is no error")
	}
	taken := answer(http.StatusPreconditionFailed, "PreconditionFailed")
	if _, err := putLarge(t, uploads(t, false, taken, gone, stat(etag)), blob.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("somebody was first: got %v", err)
	}
}
