/**
 * The bill of materials, CycloneDX: what npm knows, and what it cannot see because it is inside of something else, the
 * runtime with its OpenSSL, the database inside its binding, and the one library of the system that travels with us.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { digestOf } from './archive.ts';

interface Component {
  readonly type: 'library' | 'platform';
  readonly name: string;
  readonly version?: string;
  readonly purl?: string;
  readonly hashes?: readonly { readonly alg: 'SHA-256'; readonly content: string }[];
}

interface Sbom {
  readonly bomFormat: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly components: readonly Component[];
}

/** What npm says of a folder that `npm ci` has filled; asked before the runtime is moved out of it. */
export function npmSbom(folder: string): Sbom {
  const args = ['sbom', '--omit=dev', '--sbom-format=cyclonedx', '--loglevel=error'];
  const text = execFileSync('npm', args, { cwd: folder, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  const { serialNumber: _random, ...sbom } = JSON.parse(text) as Sbom & { serialNumber: string };
  // Neither a random number nor the time: the same release has the same bill.
  const { timestamp: _now, ...metadata } = sbom.metadata;
  return { ...sbom, metadata };
}

/** The same with what was staged beside the packages; versions are what the staged files themselves answer. */
export function withRuntime(sbom: Sbom, folder: string): Sbom {
  const runtime = join(folder, 'runtime', 'node');
  const { node, openssl, sqlite } = versionsInside(folder, runtime);
  const hashes = (file: string) => [{ alg: 'SHA-256', content: digestOf('sha256', file) }] as const;
  const cpe = { openssl: `pkg:generic/openssl@${openssl}`, sqlite: `pkg:generic/sqlite@${sqlite}` };
  const added: Component[] = [
    { type: 'platform', name: 'node', version: node, purl: `pkg:generic/node@${node}`, hashes: hashes(runtime) },
    { type: 'library', name: 'openssl', version: openssl, purl: cpe.openssl },
    { type: 'library', name: 'sqlite', version: sqlite, purl: cpe.sqlite },
    { type: 'library', name: 'libatomic', hashes: hashes(join(folder, 'runtime', 'libatomic.so.1')) },
  ];
  return { ...sbom, components: [...sbom.components, ...added] };
}

interface InnerVersions {
  readonly node: string;
  readonly openssl: string;
  readonly sqlite: string;
}

function versionsInside(folder: string, runtime: string): InnerVersions {
  const script = `
    const { node, openssl } = process.versions;
    const Database = require('better-sqlite3');
    const sqlite = new Database(':memory:').prepare('SELECT sqlite_version()').pluck().get();
    process.stdout.write(JSON.stringify({ node, openssl, sqlite }));`;
  const env = { LD_LIBRARY_PATH: join(folder, 'runtime') };
  return JSON.parse(execFileSync(runtime, ['-e', script], { cwd: folder, env, encoding: 'utf8' })) as InnerVersions;
}
