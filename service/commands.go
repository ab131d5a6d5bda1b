package service

import (
	"fmt"
	"net/http"
	"strings"

	"k6x"
)

// commands returns what gets and uses a choice.
func (s *Service) commands(r *http.Request, c *Choice, platform k6x.Platform) []Command {
	file, address, base := platform.Executable(), shellQuote(c.URL), s.absolute(r, "")
	curl, wget, power := "", "", ""
	token := s.cfg.Tokens != nil && c.Digest == "" // what was built once needs none
	if token {
		curl, wget = ` -u ":$TOKEN"`, ` --header "Authorization: Bearer $TOKEN"`
		power = ` -Headers @{Authorization="Bearer $env:TOKEN"}`
	}
	windows, quote := platform.OS == "windows", shellQuote
	if windows {
		quote = powerQuote
	}
	modules := c.Modules
	if modules == nil {
		modules = append([]Chosen{{Name: k6x.K6, Version: c.K6}}, c.With...)
	}
	var with strings.Builder
	var script []string
	for _, m := range modules {
		version := m.Version
		if version != "" && version[0] == 'v' {
			version = "= " + version[1:]
		}
		if m.Name != k6x.K6 || version != "" {
			fmt.Fprintf(&with, " --with %s", quote(strings.TrimSpace(m.Name+" "+version)))
		}
		switch {
		case m.Name == k6x.K6 && version != "":
			script = append(script, fmt.Sprintf(`"use k6 %s";`, version))
		case strings.HasPrefix(m.Name, "k6/x/"): // k6 itself reads no others
			script = append(script, strings.TrimSpace("\"use k6 with "+m.Name+" "+version)+`";`)
		}
	}
	var list []Command
	add := func(name, text string) { list = append(list, Command{name, text}) }
	variable := func(name, value string) string { return name + "=" + shellQuote(value) + " " }
	secret := func(name string) string { return name + `="$TOKEN" ` }
	fetch := "Invoke-WebRequest" + power + " -Uri " + powerQuote(c.URL) + " -OutFile " + file
	if windows { // what follows is for PowerShell
		variable = func(name, value string) string { return "$env:" + name + "=" + powerQuote(value) + "; " }
		secret = func(name string) string { return "$env:" + name + "=$env:TOKEN; " }
		add("powershell", fetch)
		add("curl", "curl.exe -fL"+strings.Replace(curl, "$TOKEN", "$env:TOKEN", 1)+" -o "+file+" "+powerQuote(c.URL))
	} else {
		add("curl", "curl -fL"+curl+" -o "+file+" "+address+" && chmod +x "+file)
		add("wget", "wget"+wget+" -O "+file+" "+address+" && chmod +x "+file)
		add("powershell", fetch)
	}
	launcher, k6 := variable("K6X_BUILDER_SERVICE", base), variable("K6_BUILD_SERVICE_URL", base)
	if token {
		launcher, k6 = secret("K6X_BUILDER_TOKEN")+launcher, secret("K6_CLOUD_TOKEN")+k6
	}
	add("k6x", launcher+"k6x run"+with.String()+" script.js")
	add("k6", k6+"k6 run script.js")
	if script != nil {
		add("script", strings.Join(script, "\n"))
	}
	if platform.OS == "linux" && c.Path != "" && !token { // ADD sends none
		checksum := ""
		if c.Digest != "" {
			checksum = "--checksum=sha256:" + c.Digest + " "
		}
		add("docker", "ADD --chmod=755 "+checksum+c.URL+" /usr/bin/k6")
	}
	switch {
	case c.Digest == "":
	case windows:
		add("check", fmt.Sprintf(`(Get-FileHash %s).Hash -eq "%s"`, file, strings.ToUpper(c.Digest)))
	case platform.OS == "darwin":
		add("check", fmt.Sprintf(`echo "%s  %s" | shasum -a 256 -c`, c.Digest, file))
	default:
		add("check", fmt.Sprintf(`echo "%s  %s" | sha256sum -c`, c.Digest, file))
	}
	return list
}

// shellQuote returns a word as a POSIX shell reads it.
func shellQuote(word string) string {
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-") == "" && word != "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// powerQuote returns a word as PowerShell reads it.
func powerQuote(word string) string { return "'" + strings.ReplaceAll(word, "'", "''") + "'" }
