-- Everything the Hub knows. Folders and files are kept for each repository alone, so that deleting one deletes its content.
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS accounts (
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, kind TEXT NOT NULL CHECK (kind IN ('user', 'org')),
  fullname TEXT NOT NULL, email TEXT NOT NULL, private_by_default INTEGER NOT NULL DEFAULT 0, quota_bytes INTEGER, created TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (
  org TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, account TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
  role TEXT NOT NULL, PRIMARY KEY (org, account)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tokens (
  digest TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, label TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('read', 'write')), created TEXT NOT NULL, expires TEXT
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS repositories (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('model', 'dataset', 'space')),
  owner TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, name TEXT NOT NULL COLLATE NOCASE,
  visibility TEXT NOT NULL CHECK (visibility IN ('public', 'private', 'protected')), gated TEXT NOT NULL DEFAULT '',
  sdk TEXT, created TEXT NOT NULL, modified TEXT NOT NULL, UNIQUE (kind, owner, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS redirects (
  kind TEXT NOT NULL, path TEXT NOT NULL COLLATE NOCASE, repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE,
  PRIMARY KEY (kind, path)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS blobs (
  repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE, oid TEXT NOT NULL, size INTEGER NOT NULL,
  sha256 TEXT,          -- of bytes that lie in a file
  lfs INTEGER NOT NULL, -- 1: `oid` names the pointer, not the bytes
  content BLOB,         -- of small files
  PRIMARY KEY (repository, oid)
);
CREATE INDEX IF NOT EXISTS blobs_by_hash ON blobs (sha256) WHERE sha256 IS NOT NULL;
CREATE TABLE IF NOT EXISTS trees (
  repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE, oid TEXT NOT NULL, content BLOB NOT NULL,
  PRIMARY KEY (repository, oid)
);
CREATE TABLE IF NOT EXISTS commits (
  repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE, oid TEXT NOT NULL, tree TEXT NOT NULL, parent TEXT,
  title TEXT NOT NULL, message TEXT NOT NULL, author TEXT NOT NULL, date TEXT NOT NULL, PRIMARY KEY (repository, oid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refs (
  repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE, name TEXT NOT NULL, oid TEXT NOT NULL,
  PRIMARY KEY (repository, name)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS holdings ( -- which repository may name which large file: it proved that it has the bytes
  repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
  filename TEXT NOT NULL DEFAULT '', reference TEXT NOT NULL DEFAULT '', pushed TEXT NOT NULL, PRIMARY KEY (repository, sha256)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holdings_by_hash ON holdings (sha256);
CREATE TABLE IF NOT EXISTS guests ( -- large files that somebody brought for a pull request: until it is merged they count as theirs
  repository TEXT NOT NULL, sha256 TEXT NOT NULL, account TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
  PRIMARY KEY (repository, sha256), FOREIGN KEY (repository, sha256) REFERENCES holdings ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts ( -- of uploads in several parts
  repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE, sha256 TEXT NOT NULL, number INTEGER NOT NULL,
  etag TEXT NOT NULL, PRIMARY KEY (repository, sha256, number)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS discussions (
  repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE, num INTEGER NOT NULL, title TEXT NOT NULL,
  status TEXT NOT NULL, author TEXT NOT NULL, pull INTEGER NOT NULL, base TEXT NOT NULL, merge_commit TEXT, created TEXT NOT NULL,
  PRIMARY KEY (repository, num)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS discussion_events (
  id TEXT PRIMARY KEY, repository TEXT NOT NULL, num INTEGER NOT NULL, kind TEXT NOT NULL, author TEXT NOT NULL,
  created TEXT NOT NULL, data TEXT NOT NULL,
  FOREIGN KEY (repository, num) REFERENCES discussions ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS events_by_discussion ON discussion_events (repository, num);

CREATE TABLE IF NOT EXISTS space_values ( -- variables and secrets
  repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE, kind TEXT NOT NULL CHECK (kind IN ('variable', 'secret')),
  key TEXT NOT NULL, value TEXT NOT NULL, description TEXT NOT NULL, updated TEXT NOT NULL, PRIMARY KEY (repository, kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS space_runtimes (
  repository TEXT PRIMARY KEY REFERENCES repositories ON DELETE CASCADE, stage TEXT NOT NULL, hardware TEXT, sleep_s INTEGER,
  volumes TEXT NOT NULL, log TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS likes (
  repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE, account TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE,
  created TEXT NOT NULL, PRIMARY KEY (repository, account)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS access_requests (
  id TEXT PRIMARY KEY, repository TEXT NOT NULL REFERENCES repositories ON DELETE CASCADE,
  account TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, status TEXT NOT NULL, fields TEXT NOT NULL, created TEXT NOT NULL,
  UNIQUE (repository, account)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS collections (
  slug TEXT PRIMARY KEY, owner TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, title TEXT NOT NULL, description TEXT,
  private INTEGER NOT NULL, theme TEXT NOT NULL, position INTEGER NOT NULL DEFAULT 0, updated TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS collection_items (
  id TEXT PRIMARY KEY, collection TEXT NOT NULL REFERENCES collections ON DELETE CASCADE ON UPDATE CASCADE, kind TEXT NOT NULL,
  item TEXT NOT NULL, note TEXT, position INTEGER NOT NULL, UNIQUE (collection, kind, item)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS webhooks (
  id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE, url TEXT, job TEXT, watched TEXT NOT NULL,
  domains TEXT NOT NULL, secret TEXT, disabled INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY, webhook TEXT NOT NULL REFERENCES webhooks ON DELETE CASCADE, body TEXT NOT NULL,
  due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, failure TEXT
);
