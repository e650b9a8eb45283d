/**
 * SIGTERM is answered within ten seconds with 0 and a state closed in order, at any moment and whatever hangs: a far end
 * that says nothing, a share that does not answer, a start that is not finished. `ProductProcess.stop` kills whoever
 * takes longer, and then its exit code is null.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { open, readFile, utimes, writeFile } from 'node:fs/promises';
import { createServer as createHttpsServer } from 'node:https';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../agent/base/clock.ts';
import { Hospital } from '../peers/hospital/hospital.ts';
import { mains } from '../peers/hospital/process.ts';
import { portOf } from '../peers/producer/port.ts';

let hospital: Hospital;
const servers: { server: Server; sockets: Set<Socket> }[] = [];
afterEach(async () => {
  await hospital.close();
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});

/** Listens, and remembers who came. */
async function listening<Kind extends Server>(server: Kind): Promise<Kind> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    socket.on('error', () => socket.destroy());
    sockets.add(socket);
  });
  servers.push({ server, sockets });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** What a stop in order leaves: nothing that the next start would call a crash, and a state that opens. */
async function startsAgain(): Promise<void> {
  await hospital.startAgent();
  expect((await hospital.status()).recentCrashes).toBe(0);
  expect(await hospital.agent.stop()).toBe(0);
}

describe('an agent stops in order', () => {
  it('in the middle of a TLS handshake with a producer that says nothing', async () => {
    hospital = await Hospital.create();
    const silent = await listening(createServer());
    const arrived = once(silent, 'connection') as Promise<[Socket]>;
    await hospital.writeConfig(`https://127.0.0.1:${portOf(silent)}/`);
    await hospital.startAgent();
    await once((await arrived)[0], 'data');
    expect(await hospital.agent.stop()).toBe(0);
    expect(hospital.agent.said.stdout).not.toContain('agent.part-left');
    await startsAgain();
  });

  it('in the middle of a question that the producer never answers, also when a run waits for it', async () => {
    hospital = await Hospital.create();
    const read = (name: string) => readFile(join(hospital.producerKeys, name));
    const tls = { cert: await read('server.pem'), key: await read('server.key') };
    const silent = await listening(createHttpsServer(tls));
    const asked = once(silent, 'request');
    await hospital.writeConfig(`https://127.0.0.1:${portOf(silent)}/`);
    await hospital.startAgent();
    await asked;
    const shipping = hospital.ask('ship').catch((error: unknown) => error);
    await hospital.until(({ jobs }) => jobs.some(({ running }) => running));
    expect(await hospital.agent.stop()).toBe(0);
    expect(await shipping).toMatchObject({ code: 'CONTROL_BROKEN' });
    expect(hospital.agent.said.stdout).not.toContain('JOB_STUCK');
    await startsAgain();
  });

  it('when a part never ends: it is told by name, and left behind', async () => {
    hospital = await Hospital.create();
    await hospital.writeConfig();
    await hospital.startAgent();
    expect(await hospital.agent.stop()).toBe(0);
    // What a share that hangs is like: its file opens and does not let itself be read.
    const hanging = join(hospital.state, 'register', 'hanging.csv');
    execFileSync('mkfifo', [hanging]);
    await utimes(hanging, 1, 1);
    await hospital.startAgent();
    const writer = await opened(hanging);
    try {
      expect(await hospital.agent.stop()).toBe(0);
    } finally {
      await writer.close();
    }
    const told = hospital.agent.said.stdout.split('\n').filter((line) => line.includes('agent.part-left'));
    expect(told.map((line) => JSON.parse(line) as object)).toMatchObject([{ word: 'housekeeper', code: 'JOB_STUCK' }]);
    expect(hospital.agent.said.stdout).toContain('agent.stopped');
    execFileSync('rm', [hanging]);
    await startsAgain();
  }, 60_000);

  it('at any moment of its start', async () => {
    hospital = await Hospital.create();
    await hospital.writeConfig();
    for (let moment = 0; moment < 12; moment++) {
      const child = spawn(process.execPath, [mains.agent, 'run', '--config', hospital.configFile], { stdio: 'ignore' });
      const ended = once(child, 'close');
      await systemClock.sleep(moment * 80);
      child.kill('SIGTERM');
      // Before anything was opened the signal ends it by itself.
      expect([0, 'SIGTERM']).toContain((await ended).find((end) => end !== null));
    }
    await startsAgain();
  });

  it('in safe mode, which the next start is still in', async () => {
    hospital = await Hospital.create();
    await hospital.writeConfig();
    const marker = { v: 1, isRunning: false, crashes: [], safeSince: systemClock.now() };
    await writeFile(join(hospital.state, 'crash.json'), JSON.stringify(marker));
    await hospital.startAgent();
    expect((await hospital.status()).state).toBe('safe');
    expect(await hospital.agent.stop()).toBe(0);
    await hospital.startAgent();
    expect((await hospital.status()).state).toBe('safe');
  });
});

/** Open for writing as soon as somebody reads; nothing is written. */
async function opened(fifo: string) {
  for (;;) {
    try {
      return await open(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch {
      await systemClock.sleep(20);
    }
  }
}
