/**
 * A Debian 12 as hospitals have it, bootstrapped from the mirror that this machine's apt is set to, and two ways into
 * it, each over a throw-away layer in memory: a chroot, and a machine that boots its own systemd. Neither has a network,
 * only a loopback of its own. `/mnt` inside is the folder of built packages.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

const release = 'bookworm';

/** What the package depends on and minbase lacks, so that it installs without a network; init for the machine that boots. */
const included = ['libstdc++6', 'systemd', 'systemd-sysv'];

const searchPath = '/usr/sbin:/usr/bin:/sbin:/bin';

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Fills a folder with Debian's smallest system, about 240 MB. */
export async function bootstrapDebian(folder: string): Promise<void> {
  const proxies = aptLines(['apt-config', 'dump', 'Acquire']).filter((line) => /::Proxy\b/i.test(line));
  const options = proxies.map((line) => `--aptopt=${line}`);
  const args = [
    ...options,
    '--variant=minbase',
    `--include=${included.join(',')}`,
    release,
    folder,
    configuredMirror(),
  ];
  const outcome = await outcomeOf(spawn('mmdebstrap', ['--quiet', ...args]));
  if (outcome.code !== 0) throw new Error(`Debian cannot be bootstrapped from apt's mirror:\n${outcome.stderr}`);
}

/** Where this machine gets Debian from. */
function configuredMirror(): string {
  const format = ['--format', '$(REPO_URI) $(CODENAME)'];
  const lines = aptLines(['apt-get', 'indextargets', ...format, 'Created-By: Packages', 'Origin: Debian']);
  // `bookworm-security` is no whole Debian.
  const mirror = lines.map((line) => line.split(' ')).find(([, codename = '-']) => !codename.includes('-'))?.[0];
  if (mirror === undefined)
    throw new Error('apt of this machine is set to no Debian mirror, or `apt-get update` is due');
  return mirror;
}

function aptLines([command = '', ...args]: readonly string[]): string[] {
  return execFileSync(command, args, { encoding: 'utf8' }).split('\n').filter(Boolean);
}

/** A running system: how to get into it, and the process that takes it away when it ends. */
export class System {
  readonly #enter: readonly string[];
  readonly #child: ChildProcess | undefined;

  constructor(enter: readonly string[], child?: ChildProcess) {
    this.#enter = enter;
    this.#child = child;
  }

  /** Runs a command in it, as root. */
  run(command: string, ...args: readonly string[]): Promise<Outcome> {
    return outcomeOf(this.start(command, ...args));
  }

  /** As `run`, and what it said; anything but success is thrown. */
  async ok(command: string, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(command, ...args);
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`);
    return stdout;
  }

  start(command: string, ...args: readonly string[]): ChildProcess {
    const [program = '', ...enter] = this.#enter;
    const clean = ['env', '-i', `PATH=${searchPath}`, 'LANG=C.UTF-8', 'TERM=dumb'];
    return spawn(program, [...enter, ...clean, command, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  }

  /** Everything that runs in it ends with its first process. */
  async stop(): Promise<void> {
    if (!this.#child || this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await closed;
  }
}

/** By the namespaces and the root of the system's first process. */
function entering(leader: number | undefined): string[] {
  return ['nsenter', '--target', String(leader), '--all', '--root', '--wd', '--'];
}

interface Folders {
  /** Of `bootstrapDebian`; not changed. */
  readonly base: string;
  /** Shown as `/mnt`. */
  readonly packages: string;
  /** An empty one to mount in. */
  readonly work: string;
}

/** $1 base, $2 work: a layer in memory over the base, as $2/root. It goes with the namespace. */
const mountLayer = `
  mount -t tmpfs -o mode=755 none "$2"
  mkdir "$2/upper" "$2/layer" "$2/root"
  mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/layer" none "$2/root"`;

/** nspawn wants the unified hierarchy, which hosts with the older one still can mount. */
const mountCgroup = `
  umount --recursive /sys/fs/cgroup || true
  mount -t cgroup2 none /sys/fs/cgroup`;

/**
 * What a technician has who mounts the disk: no systemd runs. Where this machine makes no namespaces, a plain copy
 * with this machine's network has to do, and that is said.
 */
export async function enterChroot({ base, work, packages }: Folders): Promise<System> {
  mkdirSync(work, { recursive: true });
  const refused = refusal('chroot');
  if (refused !== undefined) {
    process.stderr.write(`the package is tried with this machine's network: ${refused}\n`);
    execFileSync('cp', ['-a', base, join(work, 'root')]);
    cpSync(packages, join(work, 'root', 'mnt'), { recursive: true });
    return new System(['chroot', join(work, 'root')]);
  }
  const script = `set -e
    ip link set lo up
    ${mountLayer}
    mount --bind /proc "$2/root/proc"
    mount --bind "$3" "$2/root/mnt"
    echo ready
    exec chroot "$2/root" sleep infinity`;
  const child = spawnApart(['--net', 'sh', '-c', script, 'sh', base, work, packages]);
  await lineOf(child.stdout, child.stderr);
  return new System(entering(onlyChildOf(child.pid)), child);
}

/** Boots it in systemd-nspawn, until systemd says that everything it starts by itself has started. */
export async function bootMachine({ base, work, packages }: Folders): Promise<System> {
  mkdirSync(work, { recursive: true });
  const script = `set -e
    ${mountCgroup}
    ${mountLayer}
    exec systemd-nspawn --quiet --boot --directory="$2/root" --machine=kakehashi-$$ --register=no --keep-unit \\
      --console=pipe --private-network --bind-ro="$3":/mnt`;
  const child = spawnApart(['sh', '-c', script, 'sh', base, work, packages]);
  const said = text(child.stdout);
  const complained = text(child.stderr);
  const deadline = Date.now() + bootTimeoutMs;
  while (Date.now() < deadline && child.exitCode === null) {
    await sleep(200);
    const leader = onlyChildOf(onlyChildOf(child.pid));
    if (leader === undefined) continue;
    const system = new System(entering(leader), child);
    const { stdout } = await system.run('systemctl', 'is-system-running');
    if (/^(running|degraded)$/.test(stdout.trim())) return system;
  }
  child.kill('SIGKILL');
  throw new Error(`systemd did not boot in nspawn:\n${await said}${await complained}`);
}

/** This machine itself, with the unified control groups that a container engine wants. */
export async function enterHost(): Promise<System> {
  const child = spawnApart(['sh', '-c', `set -e; ${mountCgroup}\n echo ready; exec sleep infinity`]);
  await lineOf(child.stdout, child.stderr);
  return new System(['nsenter', '--target', String(onlyChildOf(child.pid)), '--mount', '--pid', '--'], child);
}

/** It takes one second on a machine that has nothing else to do. */
const bootTimeoutMs = 60_000;

/**
 * Why this machine cannot do what the systems above need, in the words of the first command that fails; undefined where
 * it can. What these allow must then work: nothing else excuses a test.
 */
export function refusal(needs: 'chroot' | 'machine'): string | undefined {
  const probes = [
    ['--mount', '--net', '--pid', '--fork', '--mount-proc', 'sh', '-ec', 'ip link set lo up; mount -t tmpfs none /mnt'],
    ...(needs === 'machine' ? [['--mount', 'sh', '-ec', mountCgroup]] : []),
  ];
  for (const probe of probes) {
    const { status, stderr } = spawnSync('unshare', probe, { encoding: 'utf8' });
    if (status !== 0) return `unshare ${probe.join(' ').replaceAll(/\s+/g, ' ')}: ${stderr.trim()}`;
  }
  return undefined;
}

/** In a world of mounts and processes of its own, which ends with this process, however that ends. */
function spawnApart(args: readonly string[]) {
  const apart = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', ...args];
  return spawn('setpriv', ['--pdeathsig', 'KILL', ...apart], { stdio: ['ignore', 'pipe', 'pipe'] });
}

async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  child.stdin?.end();
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout as Readable),
    text(child.stderr as Readable),
    once(child, 'close'),
  ]);
  return { code: code as number | null, stdout, stderr };
}

/** What it says first; what was said on the other stream where there is none. */
async function lineOf(stdout: Readable, stderr: Readable): Promise<string> {
  for await (const chunk of stdout.iterator({ destroyOnReturn: false })) return String(chunk);
  throw new Error(await text(stderr));
}

function onlyChildOf(pid: number | undefined): number | undefined {
  const list = pid === undefined ? '' : readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return list === '' ? undefined : Number.parseInt(list, 10);
}
