package s3

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"gopkg.in/ini.v1"

	"k6x/cache/blob"
)

// config is what the parameters of a URL and the environment say of a bucket:
//
//	region                           else AWS_REGION, AWS_DEFAULT_REGION, or that of the profile
//	endpoint                         else AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, endpoint_url of the profile, or the one of AWS
//	use_path_style, s3ForcePathStyle the bucket is in the path of URLs, not in the name of the host; so it is where it cannot be there
//	disable_https, disableSSL        for an endpoint without a scheme
//	accelerate, dualstack, fips      other endpoints of AWS; else AWS_USE_DUALSTACK_ENDPOINT, AWS_USE_FIPS_ENDPOINT
//	profile                          else AWS_PROFILE, or default
//	role                             is assumed with the other credentials
//	anonymous                        without credentials
//
// Others, which the program of before had use for, change nothing: hostname_immutable, rate_limiter_capacity,
// request_checksum_calculation, response_checksum_validation, awssdk.
type config struct {
	region, profile, role                                     string
	host                                                      string // of the endpoint, with its port
	secure, pathStyle, accelerate, dualstack, fips, anonymous bool

	useEnv   bool              // the profile is that of the environment, whose credentials come before it
	settings map[string]string // of the profile
}

func parse(params url.Values) (c config, err error) {
	endpoint := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
	plain := false
	flags := map[string]*bool{
		"use_path_style": &c.pathStyle, "s3ForcePathStyle": &c.pathStyle, "disable_https": &plain, "disableSSL": &plain, "accelerate": &c.accelerate,
		"dualstack": &c.dualstack, "fips": &c.fips, "anonymous": &c.anonymous, "hostname_immutable": new(bool),
	}
	texts := map[string]*string{
		"region": &c.region, "endpoint": &endpoint, "profile": &c.profile, "role": &c.role, "rate_limiter_capacity": new(string),
		"request_checksum_calculation": new(string), "response_checksum_validation": new(string), "awssdk": new(string),
	}
	given := url.Values{"fips": {os.Getenv("AWS_USE_FIPS_ENDPOINT")}, "dualstack": {os.Getenv("AWS_USE_DUALSTACK_ENDPOINT")}}
	maps.Copy(given, params)
	for param, values := range given {
		switch {
		case texts[param] != nil:
			*texts[param] = values[0]
		case flags[param] != nil:
			on, err := strconv.ParseBool(cmp.Or(values[0], "false"))
			if err != nil {
				return c, fmt.Errorf("%s is true or false, not %.20q", param, values[0])
			}
			*flags[param] = *flags[param] || on
		default:
			return c, fmt.Errorf("unknown query parameter %.40q", param)
		}
	}
	if c.role != "" && !strings.HasPrefix(c.role, "arn:") {
		return c, errors.New("a role is given by its ARN, which starts with \"arn:\"")
	}
	own := cmp.Or(os.Getenv("AWS_PROFILE"), "default")
	c.profile = cmp.Or(c.profile, own)
	c.useEnv = c.profile == own
	if c.settings, err = readProfile(c.profile); err != nil {
		return c, err
	}
	before := c.useEnv && (os.Getenv("AWS_ACCESS_KEY_ID") != "" || os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "")
	if c.settings["role_arn"] != "" && !c.anonymous && !before {
		return c, fmt.Errorf("the profile %.40q assumes a role, and the role of a profile is not read: write the profile of its credentials as profile=NAME, and role=ARN", c.profile)
	}
	c.region = cmp.Or(c.region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), c.settings["region"])
	return c, c.locate(cmp.Or(endpoint, c.settings["endpoint_url"]), plain)
}

// locate sets host and secure.
func (c *config) locate(endpoint string, plain bool) error {
	if endpoint == "" {
		if c.region == "" {
			return errors.New("region is missing")
		}
		c.host, c.secure = "s3.amazonaws.com", !plain // the client makes it that of the region
		if c.fips {
			stack := map[bool]string{true: ".dualstack"}[c.dualstack]
			c.host = "s3-fips" + stack + "." + c.region + c.domain()
		} else if strings.HasPrefix(c.region, "cn-") {
			c.host = "s3." + c.region + c.domain()
		}
		return nil
	}
	if !strings.Contains(endpoint, "://") {
		endpoint = map[bool]string{false: "https://", true: "http://"}[plain] + endpoint
	}
	e, err := url.Parse(endpoint)
	if err != nil || e.Host == "" || e.User != nil || e.Scheme != "http" && e.Scheme != "https" || strings.Trim(e.Path, "/") != "" {
		return errors.New("endpoint is not the URL of a server")
	}
	c.region = cmp.Or(c.region, "us-east-1") // what servers that have no regions expect in a signature
	c.host, c.secure = e.Host, e.Scheme == "https"
	return nil
}

// domain is that of the hosts of a region of AWS.
func (c *config) domain() string {
	if strings.HasPrefix(c.region, "cn-") {
		return ".amazonaws.com.cn"
	}
	return ".amazonaws.com"
}

// hostLabel is what can stand between the dots of the name of a host.
var hostLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// lookup returns where in a URL a bucket is. A certificate is for names with one label more than that of the server.
func (c *config) lookup(bucket string) minio.BucketLookupType {
	labels := strings.Split(bucket, ".")
	inHost := !slices.ContainsFunc(labels, func(label string) bool { return !hostLabel.MatchString(label) })
	server := url.URL{Host: c.host}
	if c.pathStyle || !inHost || c.secure && len(labels) > 1 || net.ParseIP(server.Hostname()) != nil {
		return minio.BucketLookupPath
	}
	return minio.BucketLookupDNS
}

// files returns the shared files of AWS's tools, with credentials and with the rest.
func files() (secrets, rest string) {
	home, _ := os.UserHomeDir() // where there is none, there are no such files
	return cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), filepath.Join(home, ".aws", "credentials")),
		cmp.Or(os.Getenv("AWS_CONFIG_FILE"), filepath.Join(home, ".aws", "config"))
}

// readProfile returns what the shared files say of a profile. A file that is not there says nothing.
func readProfile(profile string) (map[string]string, error) {
	all := make(map[string]string)
	secrets, rest := files()
	for _, name := range []string{rest, secrets} {
		file, err := ini.LooseLoad(name)
		if err != nil {
			return nil, fmt.Errorf("the shared file of AWS %s cannot be read", name) // its words may have a secret
		}
		for _, title := range []string{profile, "profile " + profile} {
			if section, err := file.GetSection(title); err == nil {
				for key, value := range section.KeysHash() {
					all[key] = value
				}
			}
		}
	}
	return all, nil
}

// credentials returns where credentials come from: the keys of the environment, and else the first that is set up of the role of the
// workload, the profile, and the role of the container or of the machine. If that one fails, no other is taken: it may have other rights.
// Fetching them takes no longer than patience.
func (c *config) credentials(transport http.RoundTripper, patience time.Duration) *credentials.Credentials {
	if c.anonymous {
		return credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	}
	found := &chain{client: &http.Client{Transport: transport, Timeout: patience / 3}}
	if c.useEnv {
		found.all = append(found.all, &credentials.EnvAWS{})
	}
	off, _ := strconv.ParseBool(os.Getenv("AWS_EC2_METADATA_DISABLED"))
	role := &credentials.IAM{Region: c.region}
	workload := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != ""
	if workload {
		role.Endpoint = os.Getenv("AWS_ENDPOINT_URL_STS")
	}
	switch {
	case c.useEnv && workload:
		found.all = append(found.all, role)
	case c.hasKeysOrLogin():
		found.all = append(found.all, &credentials.FileAWSCredentials{Profile: c.profile})
	case c.settings["credential_process"] != "":
		found.all = append(found.all, &process{command: c.settings["credential_process"], patience: min(patience, time.Minute)})
	case !off || inWorkload():
		found.all = append(found.all, role)
	}
	if c.role == "" {
		return credentials.New(found)
	}
	assumed := &assumedRole{base: credentials.New(found)}
	assumed.Client, assumed.STSEndpoint = found.client, cmp.Or(os.Getenv("AWS_ENDPOINT_URL_STS"), "https://sts."+c.region+c.domain())
	assumed.Options = credentials.STSAssumeRoleOptions{RoleARN: c.role, RoleSessionName: "k6x", Location: c.region}
	return credentials.New(assumed)
}

// hasKeysOrLogin reports whether the profile has keys or a login by SSO, as a whole or in part.
func (c *config) hasKeysOrLogin() bool {
	for name, value := range c.settings {
		if value != "" && (name == "aws_access_key_id" || name == "aws_secret_access_key" || strings.HasPrefix(name, "sso_")) {
			return true
		}
	}
	return false
}

// inWorkload reports whether a workload or a container has a role.
func inWorkload() bool {
	for _, name := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// chain has the credentials of the first provider that has some. That of the client goes on without any if none has, and does not
// say why.
type chain struct {
	all    []credentials.Provider
	client *http.Client // to fetch them with

	mu    sync.Mutex // guards what follows
	has   credentials.Provider
	fixed bool // what it has does not end, which not all providers know of
}

// RetrieveWithCredContext implements credentials.Provider.
func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	own := credentials.CredContext{Client: c.client}
	if cc != nil {
		own.Context = cc.Context
	}
	errs := []error{errors.New("there are no credentials for S3 in the environment, the shared files or the role of the machine")}
	for _, p := range c.all {
		value, err := p.RetrieveWithCredContext(&own)
		if err == nil && value.AccessKeyID != "" && value.SecretAccessKey != "" {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.has, c.fixed = p, value.Expiration.IsZero()
			return value, nil
		}
		errs = append(errs, err)
	}
	// Not wrapped: that a file of credentials is missing is not that an object is.
	return credentials.Value{}, fmt.Errorf("%w: %v", blob.ErrCredentials, errors.Join(errs...))
}

// Retrieve implements credentials.Provider.
func (c *chain) Retrieve() (credentials.Value, error) { return c.RetrieveWithCredContext(nil) }

// IsExpired implements credentials.Provider.
func (c *chain) IsExpired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has == nil || !c.fixed && c.has.IsExpired()
}

// process has the credentials that the credential_process of a profile prints
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html).
type process struct {
	credentials.Expiry
	command  string
	patience time.Duration
}

// RetrieveWithCredContext implements credentials.Provider. The program does not end with the request that is the first to need it.
func (p *process) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	shell := []string{"sh", "-c"}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd.exe", "/C"}
	}
	cmd := exec.CommandContext(ctx, shell[0], shell[1], p.command)
	cmd.WaitDelay = time.Second // for what it started
	out, err := cmd.Output()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return credentials.Value{}, fmt.Errorf("the credential_process of the profile: %w", err)
	}
	var answer struct {
		Version                                    int
		AccessKeyID, SecretAccessKey, SessionToken string
		Expiration                                 time.Time
	}
	if err := json.Unmarshal(out, &answer); err != nil || answer.Version != 1 || answer.AccessKeyID == "" || answer.SecretAccessKey == "" {
		return credentials.Value{}, errors.New("the credential_process of the profile prints no credentials of version 1") // its words may have a secret
	}
	p.SetExpiration(answer.Expiration, credentials.DefaultExpiryWindow)
	return credentials.Value{
		AccessKeyID: answer.AccessKeyID, SecretAccessKey: answer.SecretAccessKey, SessionToken: answer.SessionToken,
		Expiration: answer.Expiration, SignerType: credentials.SignatureV4,
	}, nil
}

// Retrieve implements credentials.Provider.
func (p *process) Retrieve() (credentials.Value, error) { return p.RetrieveWithCredContext(nil) }

// assumedRole has the credentials of a role that those of base may assume.
type assumedRole struct {
	base *credentials.Credentials
	credentials.STSAssumeRole
}

// RetrieveWithCredContext implements credentials.Provider.
func (r *assumedRole) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	own, err := r.base.GetWithContext(cc)
	if err != nil {
		return credentials.Value{}, err
	}
	r.Options.AccessKey, r.Options.SecretKey, r.Options.SessionToken = own.AccessKeyID, own.SecretAccessKey, own.SessionToken
	value, err := r.STSAssumeRole.RetrieveWithCredContext(cc)
	return value, refused(err)
}

// refused returns an error of the service that roles come from as one of a [blob.Bucket], if it has answered.
func refused(err error) error {
	e, ok := errors.AsType[credentials.ErrorResponse](err)
	if !ok || e.STSError.Code == "" {
		return err
	}
	fault := cmp.Or(faults[e.STSError.Code], blob.Credentials)
	if strings.HasPrefix(e.STSError.Message, "Signature expired") || strings.HasPrefix(e.STSError.Message, "Signature not yet current") {
		fault = blob.Clock
	}
	return &blob.ServiceError{Status: http.StatusForbidden, Code: e.STSError.Code, Message: e.STSError.Message, Fault: fault}
}

// Retrieve implements credentials.Provider.
func (r *assumedRole) Retrieve() (credentials.Value, error) { return r.RetrieveWithCredContext(nil) }
