import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Doer } from '../../health/index.ts';
import { ConnectorError } from '../../model/errors.ts';
import type { Probe } from '../../model/ports.ts';
import type { AppContext } from '../context.ts';
import { defineCommand } from './command.ts';

/** One thing looked at, as `check --live` shows it. */
interface Found {
  readonly check: string;
  readonly state: 'ok' | 'warn' | 'fail';
  readonly found: string;
  readonly todo?: string;
  readonly who?: Doer;
}

const dayMs = 86_400_000;
const certificateDaysMin = 21;

/** Everything outside that can be asked: every source, every producer, its certificate, the clock, the register. */
export const checkCommands = {
  check: defineCommand(z.strictObject({}), async (app) => {
    const found: Found[] = [];
    for (const part of app.sources.values()) found.push(await checkSource(part.name, () => part.probe()));
    for (const { name, shipping } of app.producers.values()) {
      found.push(
        await attempt(`producer ${name}`, 'producer', () => shipping.greet(), 'answers, and knows this hospital'),
      );
    }
    for (const { name, tls } of app.config.producers) found.push(checkCertificate(app, name, tls.cert));
    return [...found, checkClock(app), checkRegister(app)];
  }),
};

async function checkSource(name: string, probe: () => Promise<Probe>): Promise<Found> {
  const result = await probe();
  const check = `source ${name}`;
  if (result.ok) return { check, state: 'ok', found: result.peer };
  return { check, state: 'fail', found: result.error.message, todo: result.error.hint, who: 'hospital IT' };
}

async function attempt(check: string, who: Doer, work: () => Promise<void>, found: string): Promise<Found> {
  try {
    await work();
    return { check, state: 'ok', found };
  } catch (error) {
    if (!(error instanceof ConnectorError)) throw error;
    return { check, state: 'fail', found: error.message, todo: error.hint, who };
  }
}

function checkCertificate(app: AppContext, producer: string, path: string): Found {
  const check = `certificate for ${producer}`;
  const days = Math.floor((new X509Certificate(readFileSync(path)).validToDate.getTime() - app.clock.now()) / dayMs);
  const found = days < 0 ? 'expired' : `${days} days left`;
  if (days >= certificateDaysMin) return { check, state: 'ok', found };
  const todo = 'Ask the producer for a new client certificate and put it in the place of the old one.';
  return { check, state: days < 0 ? 'fail' : 'warn', found, todo, who: 'producer' };
}

function checkClock(app: AppContext): Found {
  const { trusted, offsetMs, reason } = app.time.status();
  const offset = offsetMs === undefined ? '' : `, ${Math.round(offsetMs / 1000)} s from the producer's`;
  if (trusted) return { check: 'clock', state: 'ok', found: `trusted${offset}` };
  if (app.config.producers.length === 0)
    return { check: 'clock', state: 'warn', found: 'no producer to confirm it yet' };
  const todo = 'Set the time of this server (NTP). Until a producer confirms it, everything is held.';
  return { check: 'clock', state: 'fail', found: `not trusted (${reason})${offset}`, todo, who: 'hospital IT' };
}

function checkRegister(app: AppContext): Found {
  const paused = app.store.gate.paused();
  if (paused === undefined || paused === 'clock-untrusted') return { check: 'register', state: 'ok', found: 'fresh' };
  const todo = 'Import a register file of today: `kakehashi register import FILE`.';
  return { check: 'register', state: 'warn', found: paused, todo, who: 'hospital IT' };
}
