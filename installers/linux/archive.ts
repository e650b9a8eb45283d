/** Files and archives that are the same bytes whoever builds them, and whenever. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, lutimesSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** The time of every packed file, in seconds since the epoch: a build has no date of its own. */
export const packedAtSeconds = Date.UTC(2000, 0, 1) / 1000;

/** Fast is for tests; what is handed out is small. */
export type Compression = 'small' | 'fast';

/** Every file and folder below, folders before what is in them, in the same order on every machine. */
export function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? [path, ...walk(path)] : [path];
    });
}

/** Takes away what the builder's umask and clock left on the files. */
export function settle(folder: string): void {
  for (const path of [...walk(folder).toReversed(), folder]) {
    const stat = lstatSync(path);
    if (!stat.isSymbolicLink()) chmodSync(path, stat.isDirectory() || stat.mode & 0o100 ? 0o755 : 0o644);
    lutimesSync(path, packedAtSeconds, packedAtSeconds);
  }
}

/** Packs a settled folder, with its own name as the only one at the top. */
export function packTarGz(folder: string, file: string, compression: Compression): void {
  const owner = ['--owner=0', '--group=0', '--numeric-owner'];
  const gzip = `gzip -n -${compression === 'fast' ? 1 : 9}`;
  const where = ['-C', dirname(folder), basename(folder)];
  execFileSync('tar', ['--sort=name', '--format=gnu', ...owner, '-I', gzip, '-cf', file, ...where]);
}

export function digestOf(algorithm: 'sha256' | 'md5', file: string): string {
  return createHash(algorithm).update(readFileSync(file)).digest('hex');
}
