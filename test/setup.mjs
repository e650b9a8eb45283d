/**
 * Makes a fresh clone ready: `node test/setup.mjs [--no-peers]`, run by npm before `test` and `check`.
 *
 * It runs under whatever Node 20 or later the machine has, before anything is installed, so it is plain JavaScript
 * without dependencies. It brings the packages of package-lock.json, among them the pinned Node (docs/decisions/0002),
 * and the Debian peers the tests talk to. Ready already: nothing is started and nothing is printed.
 *
 * Two at once are safe: the work is done under a lock of the kernel, which cannot be left behind.
 */
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Debian package by the command, or the file, that shows it is there. A missing one fails the run; no test is skipped for it. */
const peers = {
  age: 'age',
  zstd: 'zstd',
  strace: 'strace',
  openssl: 'openssl',
  curl: 'curl',
  faketime: 'faketime',
  promtool: 'prometheus',
  storescu: 'dcmtk',
  Orthanc: 'orthanc',
  'systemd-analyze': 'systemd',
  chromium: 'chromium',
  '/usr/share/fonts/opentype/ipafont-gothic/ipag.ttf': 'fonts-ipafont-gothic',
  'systemd-nspawn': 'systemd-container',
  mmdebstrap: 'mmdebstrap',
  minisign: 'minisign',
  ip: 'iproute2',
  buildah: 'buildah',
  podman: 'podman',
  crun: 'crun',
  catatonit: 'catatonit',
};

/** What the pinned Node needs besides glibc; slim Debian images lack it. */
const runtimePackage = 'libatomic1';

/** Where the pinned Node lies after an install, by npm's own naming of its package. */
export const pinnedNode = join(
  root,
  'node_modules',
  `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`,
  'bin',
  process.platform === 'win32' ? 'node.exe' : 'node',
);

/** What Debian's scripts ask before they start a service; 101 forbids it. Prometheus and others start by themselves. */
const servicePolicy = '/usr/sbin/policy-rc.d';

/** Another run may be installing all peers over a slow line; after this long something is wrong there. */
const lockSeconds = 900;

/** Set for the process that was started under the lock. */
const lockVariable = 'KAKEHASHI_SETUP_LOCKED';

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.slice(2));

function main(args) {
  const wanted = args.includes('--no-peers') ? {} : peers;
  if (!packagesComplete()) locked(root, installPackages, args);
  if (!existsSync(pinnedNode)) fail(`there is no pinned Node for ${process.platform}-${process.arch} in package.json`);
  if (missingDebianPackages(wanted).length === 0) return;
  locked('/var/lib/dpkg', () => installDebianPackages(missingDebianPackages(wanted)), args);
  const missing = missingDebianPackages(wanted);
  if (missing.length > 0) fail(`still missing after the installation: ${missing.join(' ')}`);
}

/**
 * True when what npm noted as installed is what package-lock.json asks for. Compared package by package, because a
 * time stamp says nothing about an install that was cut off, or made by hand under another Node.
 */
function packagesComplete() {
  const installed = readLock(join(root, 'node_modules', '.package-lock.json'));
  const asked = readLock(join(root, 'package-lock.json'));
  return Object.entries(asked).every(([path, entry]) => {
    const found = installed[path];
    if (path === '' || (!found && !isForThisMachine(entry))) return true;
    return found?.version === entry.version && found?.integrity === entry.integrity && existsSync(join(root, path));
  });
}

function readLock(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : {};
}

/** An optional package counts when it names this platform; npm leaves the others out. */
function isForThisMachine({ optional, os, cpu, libc }) {
  if (!optional) return true;
  const names = (list, value) => [list].flat().includes(value);
  return names(os, process.platform) && names(cpu, process.arch) && (!libc || names(libc, 'glibc'));
}

function installPackages() {
  if (packagesComplete()) return;
  say('installing the packages of package-lock.json');
  npmCi(process.env.PATH);
  if (packagesComplete()) return;
  // npm leaves out optional binaries whose `engines` refuse the Node it runs under (a Node 20 before 20.19). They will
  // be run by the pinned Node, so npm runs under that: from a copy, because npm ci removes the original first.
  const folder = mkdtempSync(join(tmpdir(), 'kakehashi-node-'));
  try {
    copyFileSync(pinnedNode, join(folder, 'node'));
    npmCi(`${folder}${delimiter}${process.env.PATH}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (!packagesComplete()) fail('npm ci ended, but packages of package-lock.json are missing');
}

/** No install scripts: none of our packages needs one, and what they do is not in the lock file. */
function npmCi(path) {
  const args = ['ci', '--include=dev', '--include=optional', '--ignore-scripts', '--loglevel=error', '--no-progress'];
  const shell = process.platform === 'win32';
  const { status } = spawnSync('npm', args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell,
    env: { ...process.env, PATH: path },
  });
  if (status !== 0) fail('npm ci failed; its message is above');
}

function missingDebianPackages(wanted) {
  const missing = Object.keys(wanted).filter((sign) => !(sign.startsWith('/') ? existsSync(sign) : isOnPath(sign)));
  const packages = missing.map((sign) => wanted[sign]);
  if (spawnSync(pinnedNode, ['--version']).status !== 0) packages.push(runtimePackage);
  return packages;
}

function isOnPath(command) {
  // Debian leaves sbin out of the PATH of whoever is not root; Orthanc lies there.
  return [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'].some((folder) =>
    isExecutable(join(folder, command)),
  );
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(error.code)) return false;
    throw error;
  }
}

function installDebianPackages(packages) {
  if (packages.length === 0) return;
  if (!isOnPath('apt-get')) fail(`install these, by their Debian names: ${packages.join(' ')}`);
  if (process.getuid() !== 0) {
    fail(`${packages.join(' ')}: missing. This installs them: sudo ${process.execPath} ${process.argv[1]}`);
  }
  say(`installing ${packages.join(' ')}`);
  const error = withoutServices(
    () => aptGet(['update']) ?? aptGet(['install', '-y', '--no-install-recommends', ...packages]),
  );
  if (error) fail(error);
}

/** Undefined, or what apt-get said. */
function aptGet(args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_SUSPEND: '1' };
  const options = ['-qq', '-o', `DPkg::Lock::Timeout=${lockSeconds}`];
  const { status, stdout, stderr } = spawnSync('apt-get', [...options, ...args], { env, encoding: 'utf8' });
  return status === 0 ? undefined : `apt-get ${args.join(' ')} failed:\n${stdout}${stderr}`;
}

function withoutServices(work) {
  if (existsSync(servicePolicy)) return work();
  writeFileSync(servicePolicy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return work();
  } finally {
    rmSync(servicePolicy);
  }
}

/**
 * Does `work` while no other set-up works in `folder`: by starting this script again under flock(1), which every
 * Debian has. Where there is none, two at once are the caller's own risk.
 */
function locked(folder, work, args) {
  if (process.env[lockVariable] === folder || !isOnPath('flock') || !existsSync(folder)) {
    work();
    return;
  }
  const again = ['-w', String(lockSeconds), folder, process.execPath, fileURLToPath(import.meta.url), ...args];
  const { status } = spawnSync('flock', again, { stdio: 'inherit', env: { ...process.env, [lockVariable]: folder } });
  if (status !== 0) process.exit(status ?? 1);
}

function say(text) {
  process.stderr.write(`setup: ${text}\n`);
}

function fail(text) {
  say(text);
  process.exit(1);
}
