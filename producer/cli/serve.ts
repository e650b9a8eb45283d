import { resolve } from 'node:path';
import { isoJst, systemClock } from '../../agent/base/clock.ts';
import type { Terminal } from '../../agent/base/terminal.ts';
import { type ConnectorEvent, eventTable } from '../../agent/model/events.ts';
import type { Report } from '../../agent/model/ports.ts';
import { startIntake } from '../intake/intake.ts';
import { byteSize, type Command, hostPort } from './command.ts';

export const serve: Command = {
  name: 'serve',
  summary: 'Runs the intake: takes parcels, retractions and heartbeats of all hospitals, and signs receipts.',
  options: {
    dir: { argument: 'DIR', description: 'the key folder, from keygen', isRequired: true },
    data: { argument: 'DATA', description: 'where everything that arrives is kept', isRequired: true },
    listen: { argument: 'HOST:PORT', description: 'where to listen; port 0 lets the system choose', isRequired: true },
    open: { description: 'open parcels as they arrive, with the identity in DIR' },
    quota: { argument: 'SIZE', description: 'of one hospital, in parcels not opened yet; default 1T' },
    reserve: { argument: 'SIZE', description: 'left free on the disk; default 10G' },
  },
  notes: [
    'Without --open nothing is decrypted here: carry DATA/parcels/CODE/*.age and *.jws to where the identity is, run',
    '`open --receipt` there, and put the receipt it signs into DATA/offline-receipts.',
    'SIGTERM stops it; uploads in progress go on where they were.',
  ],

  run: async (args, terminal) => {
    const quotaBytes = byteSize(args, 'quota');
    const reserveBytes = byteSize(args, 'reserve');
    const intake = await startIntake({
      keys: resolve(args.required('dir')),
      data: resolve(args.required('data')),
      listen: hostPort(args, 'listen'),
      isOpening: args.has('open'),
      clock: systemClock,
      report: reporter(terminal),
      limits: {
        ...(quotaBytes === undefined ? {} : { quotaBytes }),
        ...(reserveBytes === undefined ? {} : { reserveBytes }),
      },
    });
    terminal.result({ event: 'ready', port: intake.port });
    const stop = Promise.withResolvers<void>();
    process.once('SIGTERM', stop.resolve);
    process.once('SIGINT', stop.resolve);
    await stop.promise;
    await intake.stop();
  },
};

/** One line an event: words for a person, or JSON on stderr, since stdout belongs to the ready line. */
function reporter(terminal: Terminal): Report {
  return (event) => {
    const level = eventTable[event.name];
    if (level === 'debug') return;
    const time = isoJst(systemClock.now());
    if (terminal.isJson) process.stderr.write(`${JSON.stringify({ time, level, ...event })}\n`);
    else terminal.say(`${time}  ${level.padEnd(5)}  ${sentence(event)}`);
  };
}

function sentence({ name, source, parcel, code, word, numbers = {} }: ConnectorEvent): string {
  const counts = Object.entries(numbers).map(([key, value]) => `${key}=${value}`);
  return [name, source, parcel, code, word, ...counts].filter((part) => part !== undefined).join('  ');
}
