#!/usr/bin/env node
/**
 * `kakehashi-producer`: what a certified producer runs. Exit code 0 done, 1 failed, 2 wrong usage.
 *
 * A verb's code is loaded when it is asked for: `fleet` need not wait for a certificate library.
 */
import { Terminal } from '../agent/base/terminal.ts';
import { ConnectorError, isError } from '../agent/model/errors.ts';
import { type Command, helpOf, parseArguments, usage } from './cli/command.ts';

const verbs: Readonly<Record<string, () => Promise<Command>>> = {
  keygen: async () => (await import('./cli/keygen.ts')).keygen,
  client: async () => (await import('./cli/client.ts')).client,
  serve: async () => (await import('./cli/serve.ts')).serve,
  open: async () => (await import('./cli/open.ts')).open,
  fleet: async () => (await import('./cli/fleet.ts')).fleet,
};

async function main(argv: readonly string[]): Promise<void> {
  const [verb, ...rest] = argv;
  const terminal = new Terminal(process, { json: rest.includes('--json') });
  try {
    if (verb === undefined || verb === 'help' || verb === '--help') return await overview(terminal);
    const command = await verbs[verb]?.();
    if (!command) throw usage(`There is no command "${verb}".`);
    const args = parseArguments(command, rest);
    if (args.has('help')) return terminal.say(helpOf(command));
    await command.run(args, terminal);
  } catch (error) {
    if (!(error instanceof ConnectorError)) throw error;
    terminal.error(error);
    process.exitCode = isError(error, 'PRODUCER_USAGE') ? 2 : 1;
  }
}

async function overview(terminal: Terminal): Promise<void> {
  terminal.say('kakehashi-producer: the receiving end of Kakehashi (架け橋)');
  terminal.say();
  for (const load of Object.values(verbs)) {
    const { name, summary } = await load();
    terminal.say(`  ${name.padEnd(8)}${summary}`);
  }
  terminal.say();
  terminal.say('kakehashi-producer COMMAND --help shows its options.');
}

await main(process.argv.slice(2));
