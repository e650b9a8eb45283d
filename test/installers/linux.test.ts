/**
 * `npm run package`, and what a hospital does with the result. Built once for all tests, with the fast compression; the
 * files inside are the ones that are handed out. Installing needs root, for chroot and the service user: without it
 * this file fails and says so.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf, packedAtSeconds, packTarGz, settle } from '../../installers/linux/archive.ts';
import { debianVersion } from '../../installers/linux/debian.ts';
import { type Artefacts, buildPackages } from '../../installers/linux/package.ts';
import { root } from '../source-files.ts';
import { BareSystem } from './bare-system.ts';

/** npm, two archives and their unpacking on a busy machine with two cores. */
const buildTimeoutMs = 240_000;

const files = join(root, 'installers', 'linux', 'files');
const unit = join(files, 'kakehashi.service');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };

let work: string;
let built: Artefacts;
let unpacked: string;
let system: BareSystem;

beforeAll(() => {
  if (process.getuid?.() !== 0)
    throw new Error('test/installers needs root: chroot, and a service user to step down to');
  work = mkdtempSync(join(tmpdir(), 'kakehashi-installers-'));
  built = buildPackages({ out: join(work, 'dist'), compression: 'fast' });
  unpacked = join(work, `kakehashi-${manifest.version}-linux-x64`);
  execFileSync('tar', ['-xzf', built.tarball, '-C', work]);
  system = new BareSystem(join(work, 'system'));
  execFileSync('dpkg-deb', ['-x', built.deb, system.folder]);
  execFileSync('dpkg-deb', ['-e', built.deb, join(system.folder, 'control')]);
}, buildTimeoutMs);

afterAll(() => rmSync(work, { recursive: true, force: true }), buildTimeoutMs);

describe('the archive', () => {
  it('runs from wherever it was unpacked, with a login shell set up for another Node', () => {
    const env = { PATH: '/usr/bin:/bin', NODE_OPTIONS: '--no-such-option', NODE_PATH: '/nowhere' };
    for (const name of ['kakehashi', 'kakehashi-producer']) {
      const { status, stderr } = spawnSync(join(unpacked, 'bin', name), ['help'], { env, cwd: '/', encoding: 'utf8' });
      expect({ name, status, stderr }).toEqual({ name, status: 0, stderr: '' });
    }
  });

  it('has no file of a developer, of another platform, or of a compiler', () => {
    const modules = readdirSync(join(unpacked, 'node_modules'));
    expect(modules).toContain('better-sqlite3');
    expect(modules.filter((name) => /^(typescript|vitest|\.bin|node-(win|linux|darwin)-.*)$/.test(name))).toEqual([]);
    expect(readdirSync(join(unpacked, 'node_modules', 'better-sqlite3', 'prebuilds'))).toEqual(['linux-x64.node']);
    expect(existsSync(join(unpacked, 'node_modules', 'better-sqlite3', 'deps'))).toBe(false);
    expect(readdirSync(unpacked)).not.toContain('test');
  });

  it('has files that everybody may read and only root may change, all of one age', () => {
    const listing = execFileSync('tar', ['-tvzf', built.tarball, '--utc', '--full-time'], {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    });
    const lines = listing.trim().split('\n');
    expect(lines.length).toBeGreaterThan(1000);
    expect(lines.filter((line) => !/^(d|-)rw[x-]r-[x-]r-[x-] 0\/0 +\d+ 2000-01-01 00:00:00 /.test(line))).toEqual([]);
  });

  it('has every page that its pages for hospital IT link to', () => {
    for (const page of ['operating.md', 'ja/operating.md']) {
      const path = join(unpacked, 'docs', page);
      const links = [...readFileSync(path, 'utf8').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(
        ([, link = '']) => link,
      );
      expect(links.length).toBeGreaterThan(0);
      expect(links.filter((link) => !existsSync(join(path, '..', link)))).toEqual([]);
    }
  });

  it('is the same bytes, whatever clock, umask and order of creation its folder had', () => {
    const packed = ['one', 'two'].map((name, index) => {
      const folder = join(work, `same-${name}`, 'folder');
      mkdirSync(folder, { recursive: true });
      for (const file of index === 0 ? ['a', 'b'] : ['b', 'a']) {
        writeFileSync(join(folder, file), file, { mode: index === 0 ? 0o600 : 0o664 });
        utimesSync(join(folder, file), index * 1000, index * 1000);
      }
      settle(folder);
      const archive = join(work, `same-${name}.tar.gz`);
      packTarGz(folder, archive, 'small');
      expect(statSync(join(folder, 'a')).mtimeMs).toBe(packedAtSeconds * 1000);
      return digestOf('sha256', archive);
    });
    expect(packed[0]).toBe(packed[1]);
  });
});

describe('the bill of materials', () => {
  interface Sbom {
    readonly bomFormat: string;
    readonly components: readonly { readonly name: string; readonly version?: string }[];
  }

  it('lists every package that is inside, and what npm cannot see', () => {
    const sbom = JSON.parse(readFileSync(built.sbom, 'utf8')) as Sbom;
    expect(sbom.bomFormat).toBe('CycloneDX');
    const listed = new Map(sbom.components.map(({ name, version }) => [name, version]));
    expect(packagesIn(join(unpacked, 'node_modules')).filter((name) => !listed.has(name))).toEqual([]);
    expect(listed.get('node')).toBe(process.versions.node);
    expect(listed.get('openssl')).toBe(process.versions.openssl);
    expect(listed.get('sqlite')).toMatch(/^3\.\d+\.\d+$/);
    expect(listed.has('libatomic')).toBe(true);
    expect(listed.has('vitest')).toBe(false);
  });

  it('does not change from build to build by a number or a time of its own', () => {
    expect(readFileSync(built.sbom, 'utf8')).not.toMatch(/"(serialNumber|timestamp)":/);
  });

  function packagesIn(modules: string): string[] {
    return readdirSync(modules).flatMap((name) =>
      name.startsWith('@') ? readdirSync(join(modules, name)).map((each) => `${name}/${each}`) : [name],
    );
  }
});

it('has digests that a changed artefact does not match', () => {
  const check = () => spawnSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: join(work, 'dist') }).status;
  expect(check()).toBe(0);
  const changed = join(work, 'dist-changed');
  mkdirSync(changed);
  for (const path of [built.tarball, built.deb, built.sums]) cpSync(path, join(changed, path.split('/').at(-1) ?? ''));
  writeFileSync(join(changed, 'kakehashi-' + manifest.version + '-linux-x64.cdx.json'), '{}');
  expect(spawnSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: changed }).status).toBe(1);
});

describe('the Debian package', () => {
  it('goes onto a bare system without a network, runs there as its own user, and keeps its data when it goes', () => {
    // No systemd runs here, so whoever asks it to enable or stop the service is told that it was done.
    const withSystemctl = system.pathWith('systemctl', 'exit 0');
    expect(system.run('/control/preinst', ['install'])).toMatchObject({ code: 0, stderr: '' });
    expect(system.run('/control/postinst', ['configure', ''], withSystemctl)).toMatchObject({ code: 0 });
    const uid = Number(/^kakehashi:x:(\d+):/m.exec(read('etc/passwd'))?.[1]);
    expect(uid).toBeGreaterThan(0);

    const version = system.run('/usr/bin/kakehashi', ['version', '--json']);
    expect(JSON.parse(version.stdout)).toMatchObject({ version: manifest.version, node: process.versions.node });

    const answers = ['--facility', '1312345670', '--name', '架橋病院', '--yes'];
    expect(system.run('/usr/bin/kakehashi', ['init', ...answers])).toMatchObject({ code: 0, stderr: '' });
    for (const [path, mode] of Object.entries({ 'etc/kakehashi/site.key': 0o600, 'var/lib/kakehashi': 0o700 })) {
      const stat = statSync(join(system.folder, path));
      expect({ path, uid: stat.uid, mode: stat.mode & 0o777 }).toEqual({ path, uid, mode });
    }
    expect(system.run('/usr/bin/kakehashi', ['check'])).toMatchObject({ code: 0, stderr: '' });
    expect(system.run('/usr/bin/kakehashi', ['buffer', 'verify'])).toMatchObject({ code: 0 });

    expect(system.run('/control/postrm', ['remove']).stdout).toContain('are kept');
    expect(system.run('/control/postrm', ['purge']).stdout).toContain('KAKEHASHI_PURGE=yes');
    expect(existsSync(join(system.folder, 'etc/kakehashi/site.key'))).toBe(true);
    expect(readdirSync(join(system.folder, 'var/lib/kakehashi'))).not.toEqual([]);
    expect(system.run('/control/postrm', ['purge'], { KAKEHASHI_PURGE: 'yes' })).toMatchObject({ code: 0 });
    expect(existsSync(join(system.folder, 'etc/kakehashi'))).toBe(false);
    expect(existsSync(join(system.folder, 'var/lib/kakehashi'))).toBe(false);
  });

  it.each([
    ['2.31', 1],
    ['2.34', 0],
    ['2.4', 1],
    ['2.100', 0],
  ])('with glibc %s ends its first script with %i', (glibc, code) => {
    const old = system.pathWith('getconf', `echo "glibc ${glibc}"`);
    const outcome = system.run('/control/preinst', ['install'], old);
    expect(outcome.code).toBe(code);
    if (code === 1) expect(outcome.stderr).toMatch(new RegExp(`glibc ${glibc}.*\\n.*Nothing was installed`));
  });

  it('is not installed where glibc does not say its version', () => {
    const mute = system.pathWith('getconf', 'exit 1');
    expect(system.run('/control/preinst', ['install'], mute)).toMatchObject({ code: 1 });
  });

  it('knows every file it brings, so that `dpkg --verify` finds a changed one', () => {
    const check = () => spawnSync('md5sum', ['--quiet', '--check', 'control/md5sums'], { cwd: system.folder });
    expect(check().status).toBe(0);
    const sums = read('control/md5sums');
    expect(sums).toContain('  opt/kakehashi/runtime/node\n');
    expect(sums).not.toContain('DEBIAN/');
  });

  it('counts a release candidate as older than the release', () => {
    const older = spawnSync('dpkg', ['--compare-versions', debianVersion('1.2.0-rc.1'), 'lt', debianVersion('1.2.0')]);
    expect(older.status).toBe(0);
  });

  function read(path: string): string {
    return readFileSync(join(system.folder, path), 'utf8');
  }
});

describe('the service', () => {
  it('is exposed to at most 1.5 of 10, by systemd’s own measure', () => {
    const args = ['security', '--offline=true', '--threshold=15', '--no-pager', unit];
    const { status, stdout } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
    expect(stdout.split('\n').find((line) => line.includes('Overall'))).toMatch(/: (0|1)\.\d OK/);
    expect(status).toBe(0);
  });

  it('has no line that systemd does not understand', () => {
    // The command of the unit is not installed here; a copy that names one that is can be looked at whole.
    const copy = join(work, 'kakehashi.service');
    writeFileSync(
      copy,
      readFileSync(unit, 'utf8').replaceAll('/opt/kakehashi/bin/kakehashi', join(unpacked, 'bin', 'kakehashi')),
    );
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', copy], { encoding: 'utf8' });
    const ours = stderr.split('\n').filter((line) => line.includes('kakehashi'));
    expect({ status, ours }).toEqual({ status: 0, ours: [] });
  });

  it.each([
    'Restart=always',
    'RestartSec=10',
    'ExecReload=/bin/sh -c "kill -HUP $$MAINPID"',
    'LoadCredential=site.key:/etc/kakehashi/site.key',
    'StartLimitIntervalSec=0',
    'LimitCORE=0',
    'MemorySwapMax=0',
    'StateDirectoryMode=0700',
    'TimeoutStopSec=15',
    'ExecStart=/opt/kakehashi/bin/kakehashi run --config /etc/kakehashi/connector.yaml',
  ])('keeps %s', (line) => {
    expect(readFileSync(unit, 'utf8').split('\n')).toContain(line);
  });
});
