import react from "@vitejs/plugin-react";
import { defaultClientConditions, defineConfig } from "vite";

const server = "http://127.0.0.1:3000";

export default defineConfig({
  // Relative, so that the app may be served below any path.
  base: "./",
  plugins: [react()],
  resolve: { conditions: ["parley-source", ...defaultClientConditions] },
  build: {
    target: "es2022",
    rolldownOptions: { input: ["index.html", "admin.html"] },
  },
  server: { proxy: { "/socket.io": { target: server, ws: true }, "/dev": server } },
});
