/**
 * The smallest system the package can be installed on, made of this machine's own files: a shell, the commands the
 * launcher and the maintainer scripts call, and the libraries `ldd` names for them. No Node, no compiler, no npm, and
 * without /proc and a network: what is missing from the package is missing here.
 *
 * debootstrap would be nearer to a hospital's server. It needs a package mirror and a minute, so it is for a person
 * before a release; this runs with every test.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const shellCommands = ['sh', 'cat', 'cut', 'head', 'id', 'install', 'readlink', 'rm', 'sort'];
const systemCommands = ['getconf', 'setpriv', 'systemd-sysusers'];

/** What the package depends on by name. */
const dependencies = ['libc.so.6', 'libm.so.6', 'libdl.so.2', 'libpthread.so.0', 'libstdc++.so.6', 'libgcc_s.so.1'];

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class BareSystem {
  readonly folder: string;
  readonly #env: Record<string, string> = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' };

  constructor(folder: string) {
    this.folder = folder;
    for (const name of ['bin', 'dev', 'etc', 'tmp', 'run']) mkdirSync(join(folder, name), { recursive: true });
    for (const name of [...shellCommands, ...systemCommands]) this.#copyWithLibraries(pathOf(name), `/bin/${name}`);
    for (const name of dependencies) this.#copyLibrary(name);
    // A file does for what is only ever written to; a device cannot be made in every container.
    writeFileSync(join(folder, 'dev', 'null'), '', { mode: 0o666 });
    writeFileSync(join(folder, 'etc', 'passwd'), 'root:x:0:0:root:/:/bin/sh\n');
    writeFileSync(join(folder, 'etc', 'group'), 'root:x:0:\n');
  }

  /** A command that answers as written, in a folder of its own; the answer is the PATH that finds it first. */
  pathWith(name: string, script: string): { PATH: string } {
    const folder = mkdtempSync(join(this.folder, 'stand-in-'));
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { PATH: `/${basename(folder)}:${this.#env['PATH']}` };
  }

  /** Runs a command in it as root, without any network, not even a loopback that is up. */
  run(command: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Outcome {
    const [program, ...inside] = [...withoutNetwork(), 'chroot', this.folder, command, ...args];
    const { status, stdout, stderr, error } = spawnSync(program ?? '', inside, {
      env: { ...this.#env, ...env },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (error) throw error;
    return { code: status, stdout, stderr };
  }

  #copyWithLibraries(from: string, to: string): void {
    this.#copy(from, to);
    for (const library of librariesOf(from)) this.#copy(library, library);
  }

  #copyLibrary(name: string): void {
    const path = librariesOf(process.execPath).find((each) => each.endsWith(`/${name}`));
    if (path === undefined) throw new Error(`the runtime of this test needs no ${name}; does the package still?`);
    this.#copy(path, path);
  }

  #copy(from: string, to: string): void {
    const target = join(this.folder, to);
    mkdirSync(dirname(target), { recursive: true });
    cpSync(realpathSync(from), target);
  }
}

/** A container may refuse it to its root; then what is tried in it could reach a network, and that is said. */
function withoutNetwork(): readonly string[] {
  const { status, stderr } = spawnSync('unshare', ['--net', '--', 'true'], { encoding: 'utf8' });
  if (status === 0) return ['unshare', '--net', '--'];
  process.stderr.write(`the package is tried with this machine's network: ${stderr.trim()}\n`);
  return [];
}

function pathOf(command: string): string {
  return execFileSync('sh', ['-c', 'command -v "$1"', 'sh', command], { encoding: 'utf8' }).trim();
}

/** Absolute paths, the dynamic linker's own included. */
function librariesOf(binary: string): string[] {
  const text = execFileSync('ldd', [binary], { encoding: 'utf8' });
  return [...text.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].map(([, path = '']) => path);
}
