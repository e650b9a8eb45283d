/** The Debian package around a staged folder: it installs without a compiler, a network or a question; only a purge asks one. */
import { execFileSync } from 'node:child_process';
import { cpSync, lstatSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { type Compression, digestOf, packedAtSeconds, settle, walk } from './archive.ts';
import { filesFolder } from './stage.ts';

/** What dpkg runs, and the question that debconf asks when the package is purged. */
const controlFiles = ['preinst', 'postinst', 'prerm', 'postrm', 'templates'];

/** better-sqlite3's binary needs glibc 2.34, Node the rest; setpriv is of util-linux. */
const depends = 'libc6 (>= 2.34), libgcc-s1, libstdc++6 (>= 5), systemd, util-linux, debconf (>= 0.5) | debconf-2.0';

/** `1.2.0-rc.1` is older than `1.2.0`; Debian writes that with a tilde. */
export function debianVersion(version: string): string {
  return version.replace('-', '~');
}

/**
 * Moves the staged folder to its place below a package root, and packs that.
 *
 * @param staged - a folder of `stage`; it is gone afterwards.
 */
export function packDebian(
  staged: string,
  { version, file, compression }: { version: string; file: string; compression: Compression },
): void {
  const root = `${staged}.deb`;
  placeFiles(staged, root);
  const control = join(root, 'DEBIAN');
  mkdirSync(control);
  const files = walk(root).filter((path) => lstatSync(path).isFile());
  writeFileSync(join(control, 'control'), controlOf(version, files));
  // For `dpkg --verify`, which knows nothing newer than MD5. Against intent there are the signed digests.
  writeFileSync(
    join(control, 'md5sums'),
    files.map((path) => `${digestOf('md5', path)}  ${relative(root, path)}\n`).join(''),
  );
  for (const name of controlFiles) cpSync(join(filesFolder, 'debian', name), join(control, name));
  settle(root);
  const format = compression === 'fast' ? ['-Zgzip', '-z1'] : ['-Zxz', '-z6'];
  execFileSync('dpkg-deb', ['--root-owner-group', ...format, '--build', root, file], {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(packedAtSeconds) },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  rmSync(root, { recursive: true });
}

function placeFiles(staged: string, root: string): void {
  const prefix = join(root, 'opt', 'kakehashi');
  mkdirSync(dirname(prefix), { recursive: true });
  renameSync(staged, prefix);
  const places = {
    'systemd/kakehashi.service': 'usr/lib/systemd/system/kakehashi.service',
    'systemd/kakehashi.conf': 'usr/lib/sysusers.d/kakehashi.conf',
  };
  for (const [from, to] of Object.entries(places)) {
    mkdirSync(dirname(join(root, to)), { recursive: true });
    renameSync(join(prefix, from), join(root, to));
  }
  rmSync(join(prefix, 'systemd'), { recursive: true });
  mkdirSync(join(root, 'usr', 'bin'));
  for (const name of ['kakehashi', 'kakehashi-producer']) {
    symlinkSync(`/opt/kakehashi/bin/${name}`, join(root, 'usr', 'bin', name));
  }
}

function controlOf(version: string, files: readonly string[]): string {
  const kibibytes = files.reduce((sum, path) => sum + Math.ceil(lstatSync(path).size / 1024), 0);
  return [
    'Package: kakehashi',
    `Version: ${debianVersion(version)}`,
    'Architecture: amd64',
    'Maintainer: The Kakehashi authors <kakehashi@example.invalid>',
    `Installed-Size: ${kibibytes}`,
    `Depends: ${depends}`,
    'Section: net',
    'Priority: optional',
    "Description: hospital-side edge connector for Japan's Next-Generation Medical Infrastructure Act",
    ' Reads what a hospital holds, keeps it encrypted, asks whether each record may leave,',
    ' and ships it to the certified producer. Complete in itself: runtime and packages are inside.',
    '',
  ].join('\n');
}
