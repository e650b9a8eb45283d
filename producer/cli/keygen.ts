import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import { createKeyFolder, keyFiles, renewServer } from '../keys/folder.ts';
import { type Command, usage } from './command.ts';

/** What becomes of each file: the page a new producer reads once and acts on. */
const purposes: readonly (readonly [file: string, purpose: string])[] = [
  [keyFiles.onlineIdentity, 'stays here: opens parcels'],
  [keyFiles.recoveryIdentity, 'MOVE to an offline safe: opens them when the one above is lost'],
  [keyFiles.recipients, 'to every hospital: parcels are encrypted to these two'],
  [keyFiles.receiptKey, 'stays here: signs receipts'],
  [keyFiles.receiptJwks, 'to every hospital: checks receipts'],
  [keyFiles.caKey, 'stays here, or offline between uses: issues certificates'],
  [keyFiles.ca, 'to every hospital: the only authority it trusts'],
  [keyFiles.server, 'the certificate of the intake, with server.key'],
  [keyFiles.revoked, 'a serial in it shuts a certificate out, at once'],
];

export const keygen: Command = {
  name: 'keygen',
  summary: 'Makes the keys of a producer: age identities, receipt key, certificate authority, server certificate.',
  options: {
    dir: { argument: 'DIR', description: 'the key folder to make; it must be empty or not exist', isRequired: true },
    name: { argument: 'NAME', description: 'the name hospitals know the producer by; default ldi' },
    host: { argument: 'HOST,…', description: 'names and addresses of the intake; default 127.0.0.1,localhost' },
    'renew-server': { description: 'only a new server certificate, in a folder that exists; then restart serve' },
  },
  notes: [
    'Nothing else is ever overwritten. All files are readable by their owner only. The server certificate is valid for',
    'three years, the authority for twenty.',
  ],

  run: async (args, terminal) => {
    const folder = resolve(args.required('dir'));
    const name = args.text('name') ?? 'ldi';
    if (!/^[a-z][a-z0-9-]{0,31}$/.test(name)) throw usage('--name: expected a-z, 0-9 and -, beginning with a letter.');
    const given = args
      .text('host')
      ?.split(',')
      .map((host) => host.trim());
    if (given?.every(isHost) === false) throw usage('--host: expected names or addresses, separated by commas.');
    const now = systemClock.now();
    if (args.has('renew-server')) {
      const hosts = await renewServer(folder, { hosts: given, now });
      terminal.say(`New server certificate for ${hosts.join(', ')} in ${folder}. Restart serve to use it.`);
      return terminal.result({ dir: folder, hosts });
    }
    const hosts = given ?? ['127.0.0.1', 'localhost'];
    await createKeyFolder(folder, { name, hosts, now });
    terminal.say(`Keys of producer "${name}" are in ${folder}`);
    terminal.say();
    terminal.table(['FILE', 'WHAT IT IS FOR'], purposes);
    terminal.say();
    terminal.say('Next: kakehashi-producer client --dir DIR --facility CODE   a folder for each hospital');
    terminal.say('      kakehashi-producer serve --dir DIR --data DATA --listen 0.0.0.0:8443 --open');
    terminal.result({ dir: folder, name, hosts, files: Object.fromEntries(purposes) });
  },
};

function isHost(host: string): boolean {
  return isIP(host) !== 0 || /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(host);
}
