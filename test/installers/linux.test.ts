/**
 * `npm run package`, and what a hospital does with the result. Built once for all tests, with the fast compression; the
 * files inside are the ones that are handed out. Installing needs root: without it this file fails and says so.
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
import { basename, dirname, join } from 'node:path';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf, packedAtSeconds, packTarGz, settle } from '../../installers/linux/archive.ts';
import { debianVersion } from '../../installers/linux/debian.ts';
import { type Artefacts, buildPackages, signPackages } from '../../installers/linux/package.ts';
import { kakehashi } from '../cli/run-cli.ts';
import { root } from '../source-files.ts';
import * as chroot from './chroot-story.ts';
import { bootMachine, bootstrapDebian, enterChroot, enterHost, refusal, type System } from './debian.ts';
import * as container from './image-story.ts';
import type { Engine } from './image-story.ts';
import * as machine from './machine-story.ts';

/** npm, two archives, their unpacking, and a Debian from a mirror, on a busy machine with two cores. */
const buildTimeoutMs = 480_000;

const files = join(root, 'installers', 'linux', 'files');
const unit = join(files, 'kakehashi.service');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };

let work: string;
let built: Artefacts;
let unpacked: string;
/** A bootstrapped Debian, shared by all and changed by none. */
let base: string;
let upgrades: machine.Upgrades;

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error('test/installers needs root: to install something is to be root');
  work = mkdtempSync(join(tmpdir(), 'kakehashi-installers-'));
  base = join(work, 'debian');
  const bootstrapped = bootstrapDebian(base);
  built = buildPackages({ out: join(work, 'dist'), compression: 'fast' });
  unpacked = join(work, `kakehashi-${manifest.version}-linux-x64`);
  execFileSync('tar', ['-xzf', built.tarball, '-C', work]);
  upgrades = machine.buildUpgrades(built.deb, join(work, 'upgrades'));
  await bootstrapped;
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
  interface Component {
    readonly name: string;
    readonly version: string;
    readonly purl: string;
    readonly hashes?: readonly { readonly content: string }[];
  }
  const components = () => (JSON.parse(readFileSync(built.sbom, 'utf8')) as { components: Component[] }).components;

  it('is valid CycloneDX, by its own strict schema', async () => {
    const validator = new Validation.JsonStrictValidator(Spec.Version.v1dot5);
    expect(await validator.validate(readFileSync(built.sbom, 'utf8'))).toBeNull();
  });

  it('has a component for every package that is inside, at any depth, and for no other', () => {
    const listed = components().flatMap(({ purl }) => (purl.startsWith('pkg:npm/') ? [decodeURIComponent(purl)] : []));
    // npm counts the runtime as a package; it was moved out of it.
    const shipped = packagesBelow(join(unpacked, 'node_modules'));
    expect(shipped.filter((purl) => !listed.includes(purl))).toEqual([]);
    expect(listed.filter((purl) => !shipped.includes(purl) && !purl.startsWith('pkg:npm/node-linux-'))).toEqual([]);
  });

  it('has a component, with its digest, for every file of the runtime and every binding', () => {
    const digests = components().flatMap(({ hashes = [] }) => hashes.map(({ content }) => content));
    const files = readdirSync(join(unpacked, 'runtime')).filter((name) => name !== 'LICENSE');
    expect(files.toSorted()).toEqual(['libatomic.so.1', 'node']);
    for (const name of files) expect(digests).toContain(digestOf('sha256', join(unpacked, 'runtime', name)));
    const bindings = readdirSync(unpacked, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.node'),
    );
    expect(bindings).toEqual(['node_modules/better-sqlite3/prebuilds/linux-x64.node']);
  });

  it('names what is compiled in, in the versions that the runtime and the database say of themselves', () => {
    const listed = new Set(components().map(({ name, version }) => `${name} ${version}`));
    const { node, openssl, sqlite, v8, uv, zlib, ares, nghttp2, icu, undici } = process.versions as Record<
      string,
      string
    >;
    const expected = { node, openssl, sqlite, v8, libuv: uv, zlib, 'c-ares': ares, nghttp2, icu, undici };
    const ours = new Database(':memory:').prepare('SELECT sqlite_version()').pluck().get();
    const wanted = [
      ...Object.entries(expected).map((each) => each.join(' ')),
      `sqlite ${String(ours)}`,
      'libatomic 1.2',
    ];
    expect(wanted.filter((each) => !listed.has(each))).toEqual([]);
  });

  it('does not change from build to build by a number or a time of its own', () => {
    expect(readFileSync(built.sbom, 'utf8')).not.toMatch(/"(serialNumber|timestamp)":/);
  });

  function packagesBelow(modules: string): string[] {
    return readdirSync(modules, { recursive: true, encoding: 'utf8' })
      .filter((path) => /(^|\/)node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(`node_modules/${path}`))
      .map((path) => JSON.parse(readFileSync(join(modules, path), 'utf8')) as { name: string; version: string })
      .map(({ name, version }) => `pkg:npm/${name}@${version}`);
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

describe('a signed release', () => {
  it(
    'is taken by the product and by minisign, and is not when one byte of one file is another',
    async () => {
      const keys = join(work, 'keys');
      mkdirSync(keys);
      execFileSync('minisign', ['-G', '-W', '-p', 'release.pub', '-s', 'release.key'], { cwd: keys, stdio: 'ignore' });
      const key = join(keys, 'release.pub');
      signPackages(built, join(keys, 'release.key'));
      for (const path of Object.values(built)) {
        expect({ path, code: (await kakehashi('verify-package', path, '--key', key)).code }).toEqual({ path, code: 0 });
        expect(spawnSync('minisign', ['-V', '-H', '-q', '-p', key, '-m', path]).status).toBe(0);
        const { code, stderr } = await kakehashi('verify-package', withOneByteChanged(path, keys), '--key', key);
        expect({ path, code, said: stderr.slice(0, 15) }).toEqual({ path, code: 1, said: 'PACKAGE_REFUSED' });
        expect(stderr).toContain('Hint: Do not install it.');
      }
    },
    buildTimeoutMs,
  );

  function withOneByteChanged(path: string, folder: string): string {
    const changed = join(folder, basename(path));
    const bytes = readFileSync(path);
    const middle = bytes.length >> 1;
    bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    writeFileSync(changed, bytes);
    cpSync(`${path}.minisig`, `${changed}.minisig`);
    return changed;
  }
});

it('counts a release candidate as older than the release', () => {
  const older = spawnSync('dpkg', ['--compare-versions', debianVersion('1.2.0-rc.1'), 'lt', debianVersion('1.2.0')]);
  expect(older.status).toBe(0);
});

/** What a step does and how. */
type Step = [title: string, run: () => Promise<void>];

/** The longest step installs the package twice; that many files are synced one by one. */
const inOrder = { concurrent: false, timeout: 480_000 };

/** Three stories side by side, because most of each is waiting; the steps of one come after another. */
describe.concurrent('on a Debian of its own', () => {
  const folders = (name: string) => ({ base, packages: dirname(built.deb), work: join(work, name) });
  const deb = () => basename(built.deb);

  describe('in a chroot', () => {
    let system: System;
    beforeAll(async () => {
      system = await enterChroot(folders('chroot'));
    });
    afterAll(() => system.stop());

    it.each<Step>([
      [
        'the package installs without a network, a compiler or another Node',
        () => chroot.installsAndBelongsToItsUser(system, deb(), manifest.version),
      ],
      ['it runs as its own user, takes a message, and stops', () => chroot.receivesAndStops(system)],
      ['it refuses a glibc that is too old, or does not say its version', () => chroot.wantsItsGlibc(system)],
      ['dpkg knows every file it brought', () => chroot.knowsAChangedFile(system)],
      ['it keeps its data until somebody says otherwise', () => chroot.keepsDataUntilSomebodySaysYes(system, deb())],
    ])('%s', inOrder, async (_title, step) => {
      await expect(step()).resolves.toBeUndefined();
    });
  });

  describe('booted by systemd', () => {
    const refused = refusal('machine');

    // One of the two runs, never none: a kernel that forbids these mounts is told and asserted here, in place of the story.
    it.runIf(refused !== undefined)('is not tried where the kernel refuses what nspawn needs', () => {
      process.stderr.write(`not tried in systemd-nspawn: ${refused}\n`);
      expect(refused).toMatch(/not permitted|permission denied|unknown filesystem/i);
    });

    // Left out only where the test above has said why.
    describe.skipIf(refused !== undefined)('the service', () => {
      let system: System;
      beforeAll(async () => {
        system = await bootMachine(folders('machine'));
      });
      afterAll(() => system.stop());

      it.each<Step>([
        ['waits for init, starts, and takes a message', () => machine.startsWhenInitialised(system, deb())],
        ['gets the site key from systemd', () => machine.getsTheSiteKeyFromSystemd(system)],
        ['is confined as its unit says', () => machine.isConfined(system)],
        ['is started again when its work hangs', () => machine.isStartedAgainWhenItHangs(system)],
        ['rests after repeated crashes, and never stays down', () => machine.restsAfterRepeatedCrashes(system)],
        [
          'keeps all over an upgrade, and runs on when one is given up',
          () => machine.isUpgradedWhileItRuns(system, upgrades),
        ],
        ['keeps its data when removed, and asks when purged', () => machine.isRemovedAndAsksWhenPurged(system)],
      ])('%s', inOrder, async (_title, step) => {
        await expect(step()).resolves.toBeUndefined();
      });
    });
  });

  describe('in a container', () => {
    const refused = refusal('machine');

    // One of the two runs, never none: as for nspawn, whose mounts a container needs too.
    it.runIf(refused !== undefined)('is not tried where the kernel refuses what a container needs', () => {
      process.stderr.write(`not tried in a container: ${refused}\n`);
      expect(refused).toMatch(/not permitted|permission denied|unknown filesystem/i);
    });

    // Left out only where the test above has said why.
    describe.skipIf(refused !== undefined)('the image', () => {
      let engine: Engine;
      beforeAll(async () => {
        const storage = ['--storage-driver', 'overlay', '--root', join(work, 'images'), '--runroot', join(work, 'run')];
        engine = { system: await enterHost(), storage };
      });
      afterAll(() => engine.system.stop());

      it.each<Step>([
        [
          'is built from the archive alone',
          () =>
            container.buildsFromTheArchiveAlone(engine, { base, tarball: built.tarball, work: join(work, 'image') }),
        ],
        [
          'runs without root and with a read-only root, and says that it is healthy',
          () => container.runsAsComposeAsks(engine),
        ],
        ['stops in order, and leaves its volumes to the next', () => container.stopsInOrderAndLeavesItsVolumes(engine)],
      ])('%s', inOrder, async (_title, step) => {
        await expect(step()).resolves.toBeUndefined();
      });
    });
  });
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
