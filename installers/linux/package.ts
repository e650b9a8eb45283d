/**
 * `npm run package`: everything a hospital's Linux server needs, in files that can be carried there on a stick.
 *
 *     dist/kakehashi-<version>-linux-x64.tar.gz     any distribution with glibc 2.34 or later
 *     dist/kakehashi_<version>_amd64.deb            Debian 12, Ubuntu 22.04 and later
 *     dist/kakehashi-<version>-linux-x64.cdx.json   what is inside, CycloneDX
 *     dist/SHA256SUMS                               of the three
 *     dist/*.minisig                                with `-- --sign KEYFILE`: a signature beside each of the four
 *
 * The packages come from the registry or npm's cache; nothing is compiled, here or where it is installed.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Compression, digestOf, packTarGz, settle } from './archive.ts';
import { debianVersion, packDebian } from './debian.ts';
import { npmSbom, withRuntime } from './sbom.ts';
import { installPackages, stage } from './stage.ts';

const repository = join(import.meta.dirname, '..', '..');

export interface Artefacts {
  readonly tarball: string;
  readonly deb: string;
  readonly sbom: string;
  readonly sums: string;
}

/** Builds all of them into `out`, replacing what is there under the same names, and a signature that is there. */
export function buildPackages({ out, compression }: { out: string; compression: Compression }): Artefacts {
  const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { version: string };
  const name = `kakehashi-${version}-linux-x64`;
  const artefacts: Artefacts = {
    tarball: join(out, `${name}.tar.gz`),
    deb: join(out, `kakehashi_${debianVersion(version)}_amd64.deb`),
    sbom: join(out, `${name}.cdx.json`),
    sums: join(out, 'SHA256SUMS'),
  };
  mkdirSync(out, { recursive: true });
  for (const file of Object.values(artefacts)) rmSync(`${file}.minisig`, { force: true });
  const work = mkdtempSync(join(tmpdir(), 'kakehashi-package-'));
  try {
    const staged = join(work, name);
    installPackages(staged);
    const packages = npmSbom(staged);
    stage(staged);
    writeFileSync(artefacts.sbom, `${JSON.stringify(withRuntime(packages, staged), null, 2)}\n`);
    settle(staged);
    packTarGz(staged, artefacts.tarball, compression);
    packDebian(staged, { version, file: artefacts.deb, compression });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const summed = [artefacts.tarball, artefacts.deb, artefacts.sbom];
  writeFileSync(artefacts.sums, summed.map((file) => `${digestOf('sha256', file)}  ${basename(file)}\n`).join(''));
  return artefacts;
}

/**
 * Signs each of them, for `kakehashi verify-package` and minisign. The key stays with minisign, which asks for its
 * password at the terminal.
 */
export function signPackages(artefacts: Artefacts, secretKey: string): void {
  const args = ['-S', '-s', secretKey, '-m', ...Object.values(artefacts)];
  execFileSync('minisign', args, { stdio: ['inherit', 'ignore', 'inherit'] });
}

if (import.meta.main) {
  const { sign } = parseArgs({ options: { sign: { type: 'string' } } }).values;
  const artefacts = buildPackages({ out: join(repository, 'dist'), compression: 'small' });
  if (sign !== undefined) signPackages(artefacts, sign);
  process.stdout.write(`${Object.values(artefacts).join('\n')}\n`);
}
