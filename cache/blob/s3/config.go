package s3

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"gopkg.in/ini.v1"
)

// config is what the parameters of a URL and the environment say of a bucket:
//
//	region                           else AWS_REGION, AWS_DEFAULT_REGION, or that of the profile
//	endpoint                         else AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or the one of AWS
//	use_path_style, s3ForcePathStyle the bucket is in the path of URLs, not in the name of the host
//	disable_https, disableSSL        for an endpoint without a scheme
//	accelerate, dualstack, fips      other endpoints of AWS
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
	for param, values := range params {
		switch {
		case texts[param] != nil:
			*texts[param] = values[0]
		case flags[param] != nil:
			on, err := strconv.ParseBool(cmp.Or(values[0], "false"))
			if err != nil {
				return c, fmt.Errorf("%s is true or false", param)
			}
			*flags[param] = *flags[param] || on
		default:
			return c, fmt.Errorf("unknown query parameter %.40q", param)
		}
	}
	if c.role != "" && !strings.HasPrefix(c.role, "arn:") {
		return c, errors.New("a role is given by its ARN, which starts with \"arn:\"")
	}
	c.profile = cmp.Or(c.profile, os.Getenv("AWS_PROFILE"), "default")
	section, err := readProfile(c.profile)
	if err != nil {
		return c, err
	}
	if section["role_arn"] != "" && !c.anonymous && os.Getenv("AWS_ACCESS_KEY_ID") == "" {
		return c, fmt.Errorf("the profile %.40q assumes a role, and the role of a profile is not read: write the profile of its credentials as profile=NAME, and role=ARN", c.profile)
	}
	c.region = cmp.Or(c.region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), section["region"])
	return c, c.locate(endpoint, plain)
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
			c.host = "s3-fips" + stack + "." + c.region + ".amazonaws.com"
		} else if strings.HasPrefix(c.region, "cn-") {
			c.host = "s3." + c.region + ".amazonaws.com.cn"
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

// credentials returns where credentials come from, in this order: the environment, a profile, and the role of the workload, of the
// container or of the machine.
func (c *config) credentials(client *http.Client) *credentials.Credentials {
	if c.anonymous {
		return credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
	}
	found := &chain{}
	if c.profile == cmp.Or(os.Getenv("AWS_PROFILE"), "default") { // else the URL names one, which comes first
		found.all = append(found.all, &credentials.EnvAWS{})
	}
	found.all = append(found.all, &credentials.FileAWSCredentials{Profile: c.profile})
	if off, _ := strconv.ParseBool(os.Getenv("AWS_EC2_METADATA_DISABLED")); !off || inWorkload() {
		found.all = append(found.all, &credentials.IAM{Client: client, Region: c.region})
	}
	if c.role == "" {
		return credentials.New(found)
	}
	role := &assumedRole{base: credentials.New(found)}
	role.Client, role.STSEndpoint = client, cmp.Or(os.Getenv("AWS_ENDPOINT_URL_STS"), "https://sts."+c.region+".amazonaws.com")
	role.Options = credentials.STSAssumeRoleOptions{RoleARN: c.role, RoleSessionName: "k6x", Location: c.region}
	return credentials.New(role)
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
	all []credentials.Provider

	mu  sync.Mutex // guards what follows
	has credentials.Provider
}

// RetrieveWithCredContext implements credentials.Provider.
func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	var errs []error
	for _, p := range c.all {
		value, err := p.RetrieveWithCredContext(cc)
		if err == nil && value.AccessKeyID != "" && value.SecretAccessKey != "" {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.has = p
			return value, nil
		}
		errs = append(errs, err)
	}
	// Not wrapped: that a file of credentials is missing is not that an object is.
	return credentials.Value{}, fmt.Errorf("there are no credentials for S3 in the environment, the shared files or the role of the machine: %v", errors.Join(errs...))
}

// Retrieve implements credentials.Provider.
func (c *chain) Retrieve() (credentials.Value, error) { return c.RetrieveWithCredContext(nil) }

// IsExpired implements credentials.Provider.
func (c *chain) IsExpired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has == nil || c.has.IsExpired()
}

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
	return r.STSAssumeRole.RetrieveWithCredContext(cc)
}

// Retrieve implements credentials.Provider.
func (r *assumedRole) Retrieve() (credentials.Value, error) { return r.RetrieveWithCredContext(nil) }
