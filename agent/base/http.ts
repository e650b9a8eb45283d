/**
 * `node:http` without its WebSocket: an `import` of the module evaluates every export, also the lazy ones, and with them
 * a second undici of Node's own, 10 MB that stay for as long as the agent runs.
 */
export const { createServer, request } = process.getBuiltinModule('node:http');
