/** The package on a Debian without systemd running: what a technician does by hand, step by step. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { expect } from 'vitest';
import type { Ready } from '../../agent/app.ts';
import type { Status } from '../../agent/health/index.ts';
import type { System } from './debian.ts';

export const configFile = '/etc/kakehashi/connector.yaml';

export async function install(system: System, deb: string): Promise<void> {
  await system.ok('dpkg', '-i', `/mnt/${deb}`);
}

/** The first day: `init`, the producer's files, a source, and a producer that cannot be reached. */
export async function initialise(system: System, { hl7, metrics }: { hl7: number; metrics: number }): Promise<void> {
  await system.ok('kakehashi', 'init', '--facility', '1312345670', '--name', '架橋病院', '--yes');
  await system.ok('kakehashi-producer', 'keygen', '--dir', '/srv/producer', '--name', 'ldi');
  const client = ['client', '--dir', '/srv/producer', '--facility', '1312345670', '--out', '/etc/kakehashi/ldi'];
  await system.ok('kakehashi-producer', ...client);
  await system.ok('chown', '-R', 'kakehashi:kakehashi', '/etc/kakehashi/ldi');
  const more = `
sources: [{ name: ehr-feed, kind: hl7v2, listen: 127.0.0.1:${hl7} }]
producers:
  - name: ldi
    basis: article-57
    url: https://127.0.0.1:1/
    recipients: ldi/recipients
    receiptKeys: ldi/receipt.jwks
    tls: { ca: ldi/ca.pem, cert: ldi/client.pem, key: ldi/client.key }
health: { metrics: 127.0.0.1:${metrics} }`;
  await system.ok('sh', '-c', `echo "$1" >> ${configFile}`, 'sh', more);
}

/** How many records wait here, sealed; nothing passes the gate, because nobody was notified. */
export async function heldBy(system: System): Promise<number> {
  const { deliveries } = JSON.parse(await system.ok('kakehashi', 'status', '--json')) as Status;
  return deliveries.held;
}

export async function installsAndBelongsToItsUser(system: System, deb: string, version: string): Promise<void> {
  await install(system, deb);
  expect(JSON.parse(await system.ok('kakehashi', 'version', '--json'))).toMatchObject({
    version,
    node: process.versions.node,
  });
  for (const command of ['node', 'npm', 'cc', 'python3']) {
    expect({ command, ...(await system.run('sh', '-c', `command -v ${command}`)) }).toMatchObject({
      command,
      code: 127,
    });
  }
  // Port 0: in the plain chroot of a machine without namespaces the usual ports may be taken.
  await initialise(system, { hl7: 0, metrics: 0 });
  expect(await system.ok('grep', 'site:', configFile)).toBe('  site: { credential: "site.key" }\n');
  const facts = await system.ok('stat', '-c', '%n %U %a', '/etc/kakehashi/site.key', '/var/lib/kakehashi', configFile);
  expect(facts.trim().split('\n')).toEqual([
    '/etc/kakehashi/site.key kakehashi 600',
    '/var/lib/kakehashi kakehashi 700',
    `${configFile} kakehashi 600`,
  ]);
  expect(await system.run('kakehashi', 'check')).toMatchObject({ code: 0, stderr: '' });
}

export async function receivesAndStops(system: System): Promise<void> {
  const agent = system.start('kakehashi', 'run', '--json');
  const ready = await readyLine(agent.stdout as Readable);
  const ids = await system.ok('sh', '-c', `id -u kakehashi; awk '/^Uid/ { print $2, $3 }' /proc/${ready.pid}/status`);
  const [uid] = ids.split('\n');
  expect(ids).toBe(`${uid}\n${uid} ${uid}\n`);
  const to = `127.0.0.1:${ready.ports['ehr-feed']}`;
  expect(await system.ok('kakehashi', 'send', '--adt', '0000012345', '--to', to)).toContain('AA');
  expect(await heldBy(system)).toBe(1);
  const ended = once(agent, 'close');
  await system.ok('sh', '-c', `kill -TERM ${ready.pid}`);
  expect((await ended)[0]).toBe(0);
  expect(await system.run('kakehashi', 'buffer', 'verify')).toMatchObject({ code: 0 });
}

async function readyLine(stdout: Readable): Promise<Ready> {
  for await (const line of createInterface({ input: stdout })) {
    const said = JSON.parse(line) as Ready;
    if (said.event === 'ready') {
      stdout.resume();
      return said;
    }
  }
  throw new Error('it ended without being ready');
}

export async function knowsAChangedFile(system: System): Promise<void> {
  expect(await system.run('dpkg', '--verify', 'kakehashi')).toMatchObject({ code: 0, stdout: '' });
  await system.ok('sh', '-c', 'echo >> /opt/kakehashi/agent/main.ts');
  expect((await system.run('dpkg', '--verify', 'kakehashi')).stdout).toMatch(/ \/opt\/kakehashi\/agent\/main\.ts\n$/);
}

/** Its first script, with a `getconf` that says this of the C library. */
export async function wantsItsGlibc(system: System): Promise<void> {
  const preinst = '/var/lib/dpkg/info/kakehashi.preinst';
  const answers = {
    'echo glibc 2.31': 1,
    'echo glibc 2.34': 0,
    'echo glibc 2.4': 1,
    'echo glibc 2.100': 0,
    'exit 1': 1,
  };
  for (const [answer, code] of Object.entries(answers)) {
    const script = `mkdir -p /tmp/stand-in; printf '#!/bin/sh\\n%s\\n' "$1" > /tmp/stand-in/getconf
      chmod +x /tmp/stand-in/getconf; PATH=/tmp/stand-in:$PATH exec ${preinst} install`;
    const outcome = await system.run('sh', '-c', script, 'sh', answer);
    expect({ answer, code: outcome.code }).toEqual({ answer, code });
    if (code === 1) expect(outcome.stderr).toMatch(/glibc .*\n.*Nothing was installed/);
  }
}

/** Without a terminal: what is not answered beforehand is a no. The machine's story asks at a terminal. */
export async function keepsDataUntilSomebodySaysYes(system: System, deb: string): Promise<void> {
  expect(await system.ok('dpkg', '--remove', 'kakehashi')).toContain('are kept');
  await expectKept(system);
  await system.ok('env', 'DEBIAN_FRONTEND=noninteractive', 'dpkg', '--purge', 'kakehashi');
  await expectKept(system);
  await install(system, deb);
  expect(await system.run('kakehashi', 'buffer', 'verify')).toMatchObject({ code: 0 });
  await system.ok('sh', '-c', 'echo "kakehashi kakehashi/delete-data boolean true" | debconf-set-selections');
  await system.ok('env', 'DEBIAN_FRONTEND=noninteractive', 'dpkg', '--purge', 'kakehashi');
  for (const path of ['/etc/kakehashi', '/var/lib/kakehashi', '/opt/kakehashi']) {
    expect({ path, code: (await system.run('test', '-e', path)).code }).toEqual({ path, code: 1 });
  }
}

export async function expectKept(system: System): Promise<void> {
  await system.ok('ls', '/etc/kakehashi/site.key', configFile, '/var/lib/kakehashi/lock.sqlite');
}
