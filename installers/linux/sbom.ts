/**
 * The bill of materials, CycloneDX 1.5: what npm knows, and what it cannot see because it is inside of something else,
 * the runtime with what is compiled into it, the database inside its binding, and the one library of the system that
 * travels with us.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { digestOf } from './archive.ts';

interface Component {
  readonly 'bom-ref': string;
  readonly type: 'application' | 'library' | 'platform' | 'data';
  readonly name: string;
  readonly version: string;
  readonly purl?: string;
  readonly hashes?: readonly { readonly alg: 'SHA-256'; readonly content: string }[];
}

interface Dependency {
  readonly ref: string;
  readonly dependsOn: readonly string[];
}

interface Sbom {
  readonly bomFormat: string;
  readonly metadata: Readonly<Record<string, unknown>> & { readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies: readonly Dependency[];
}

/** Numbers of interfaces, and the runtime itself: not parts of it. */
const notParts: ReadonlySet<string> = new Set(['node', 'modules', 'napi']);

/** Parts that `process.versions` calls otherwise than their authors, and lists of vulnerabilities, do. */
const partNames: Readonly<Record<string, string>> = { ares: 'c-ares', tz: 'tzdata', uv: 'libuv' };

/** What the runtime carries of Unicode and of time zones is not code. */
const dataParts: ReadonlySet<string> = new Set(['cldr', 'tz', 'unicode']);

/** What npm says of a folder that `npm ci` has filled; asked before the runtime is moved out of it. */
export function npmSbom(folder: string): Sbom {
  const args = ['sbom', '--omit=dev', '--sbom-format=cyclonedx', '--loglevel=error'];
  const text = execFileSync('npm', args, { cwd: folder, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  const { serialNumber: _random, ...sbom } = JSON.parse(text) as Sbom & { serialNumber: string };
  // Neither a random number nor the time: the same release has the same bill.
  const { timestamp: _now, component, ...metadata } = sbom.metadata;
  // npm takes us for a library, named like the folder.
  return { ...sbom, metadata: { ...metadata, component: { ...component, type: 'application', name: 'kakehashi' } } };
}

/** The same with what was staged beside the packages; versions are what the staged files themselves answer. */
export function withRuntime(sbom: Sbom, folder: string): Sbom {
  const runtime = join(folder, 'runtime', 'node');
  const libatomic = join(folder, 'runtime', 'libatomic.so.1');
  const { versions, sqlite } = versionsInside(folder, runtime);
  const parts = Object.entries(versions).filter(([name, version]) => version !== '' && !notParts.has(name));
  const inNode = parts.map(([name, version]) =>
    part('node', partNames[name] ?? name, version, dataParts.has(name) ? 'data' : 'library'),
  );
  const node: Component = { ...generic('node', versions['node'] ?? '', 'platform'), hashes: hashes(runtime) };
  const atomic: Component = { ...generic('libatomic', libatomicVersion(libatomic)), hashes: hashes(libatomic) };
  const database = part('better-sqlite3', 'sqlite', sqlite);
  return {
    ...sbom,
    components: [...sbom.components, node, ...inNode, database, atomic],
    dependencies: [
      ...sbom.dependencies.map((each) => withMore(each, sbom, { node, database })),
      { ref: node['bom-ref'], dependsOn: [...inNode, atomic].map((each) => each['bom-ref']) },
      ...[...inNode, database, atomic].map((each) => ({ ref: each['bom-ref'], dependsOn: [] })),
    ],
  };
}

/** We run on the runtime, and the binding has the database inside. */
function withMore(each: Dependency, sbom: Sbom, { node, database }: { node: Component; database: Component }) {
  const more =
    each.ref === sbom.metadata.component['bom-ref'] ? [node] : each.ref.startsWith('better-sqlite3@') ? [database] : [];
  return { ...each, dependsOn: [...each.dependsOn, ...more.map((component) => component['bom-ref'])] };
}

/** Something compiled into `owner`; the same library may be inside of two. */
function part(owner: string, name: string, version: string, type: Component['type'] = 'library'): Component {
  return { ...generic(name, version, type), 'bom-ref': `${owner}/${name}@${version}` };
}

function generic(name: string, version: string, type: Component['type'] = 'library'): Component {
  const purl = `pkg:generic/${name}@${encodeURIComponent(version)}`;
  return { 'bom-ref': `${name}@${version}`, type, name, version, purl };
}

function hashes(file: string): NonNullable<Component['hashes']> {
  return [{ alg: 'SHA-256', content: digestOf('sha256', file) }];
}

/** The newest of the interface versions that the library itself says it offers: `LIBATOMIC_1.2`. */
function libatomicVersion(file: string): string {
  const offered = [...readFileSync(file, 'latin1').matchAll(/LIBATOMIC_(\d+(?:\.\d+)+)\0/g)].map(
    ([, found = '']) => found,
  );
  const newest = offered.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
  if (newest === undefined) throw new Error(`${file} says no version of itself: is it GCC's libatomic?`);
  return newest;
}

interface InnerVersions {
  /** The runtime's `process.versions`. */
  readonly versions: Readonly<Record<string, string>>;
  /** Of the database inside better-sqlite3; the runtime has one of its own. */
  readonly sqlite: string;
}

function versionsInside(folder: string, runtime: string): InnerVersions {
  const script = `
    const Database = require('better-sqlite3');
    const sqlite = new Database(':memory:').prepare('SELECT sqlite_version()').pluck().get();
    process.stdout.write(JSON.stringify({ versions: process.versions, sqlite }));`;
  const env = { LD_LIBRARY_PATH: join(folder, 'runtime') };
  return JSON.parse(execFileSync(runtime, ['-e', script], { cwd: folder, env, encoding: 'utf8' })) as InnerVersions;
}
